/**
 * The session room: what the front doors for test runners share. Part for the processes that tests run in, apart from
 * the other, because it must load fast.
 */
export { attachCluster, type TestCluster, type TestNode } from './attached.ts'
export type { MayflyContext } from './context.ts'
export type { CurlOptions, CurlResponse } from './curl.ts'
export type { Diagnosis } from './diagnostics.ts'
export {
  type Consistently,
  consistentlyWithin,
  type Eventually,
  eventuallyWithin,
  type RepeatOptions,
} from './eventually.ts'
export { ObjectHandle, type PodExecOptions } from './handle.ts'
export { limitsFromNow, type TestLimits, type WaitOptions } from './limits.ts'
export { type KubeMatchers, kubeMatchers } from './matchers.ts'
export { TestNamespace } from './namespace.ts'
export { leaseNamespace, type NamespaceLease } from './test-run.ts'
