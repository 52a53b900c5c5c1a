export { type ApplyOptions, applyAll } from './apply.ts'
export { connectKube, type Kube, type KubeRequestOptions } from './connection.ts'
export {
  create,
  find,
  get,
  type ListOptions,
  list,
  type ObjectOptions,
  type PatchOptions,
  patch,
  type RemoveOptions,
  remove,
} from './crud.ts'
export { discoverKinds, type ResourceKind, resolveKind } from './discovery.ts'
export { events, type KubeEvent } from './events.ts'
export { type ExecOptions, type ExecResult, execInPod } from './exec.ts'
export {
  type ContainerReport,
  type DescribeFailureOptions,
  describeFailure,
  type FailureReport,
  listNamespace,
  type PodReport,
} from './failure.ts'
export { jsonPath } from './jsonpath.ts'
export type { Access } from './kubeconfig.ts'
export { kustomizeOnHost } from './kustomize.ts'
export { followPodLogs, type PodLogOptions, type PodRef, podLogs } from './logs.ts'
export { manifestPaths } from './manifest-paths.ts'
export { type LoadManifestsOptions, loadManifests, type ManifestSource, parseManifests } from './manifests.ts'
export {
  conditionOf,
  type KindRef,
  type KubeCondition,
  type KubeMetadata,
  type KubeObject,
  nameOf,
  type ObjectRef,
} from './objects.ts'
export { type Difference, formatDifferences, partialDiff } from './partial-diff.ts'
export { assertPodsRun, controlPlaneOnlyError } from './pods-run.ts'
export { type PortForward, type PortForwardOptions, portForward } from './port-forward.ts'
export { type KubeStatus, kubeStatus } from './status.ts'
export { waitAvailable } from './wait-available.ts'
export { type WaitCondition, type WaitForLimits, waitFor } from './wait-for.ts'
export { type WatchOptions, type WatchStep, type WatchTarget, watchList } from './watch.ts'
