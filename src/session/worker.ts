/**
 * The session room: what the front doors for test runners share. Part for the processes that tests run in, apart from
 * the other, because it must load fast.
 */
export {
  type ClusterContext,
  type Isolation,
  isOwn,
  isolationInSource,
  isolationNamed,
  isolationPragma,
} from '../broker/worker.ts'
export type { TestCluster, TestNode } from './attached.ts'
export type { MayflyContext, RunContext } from './context.ts'
export type { CurlOptions, CurlResponse } from './curl.ts'
export type { Diagnosis } from './diagnostics.ts'
export {
  type Consistently,
  consistentlyWithin,
  type Eventually,
  eventuallyWithin,
  type RepeatOptions,
} from './eventually.ts'
export { clusterForFile, type FileCluster } from './file-cluster.ts'
export { ObjectHandle, type PodExecOptions } from './handle.ts'
export { limitsFromNow, type TestLimits, type WaitOptions } from './limits.ts'
export { type KubeMatchers, kubeMatchers } from './matchers.ts'
export { TestNamespace } from './namespace.ts'
export { leaseNamespace, type NamespaceLease } from './test-run.ts'
