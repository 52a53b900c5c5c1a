/** Ephemeral multi-node Kubernetes clusters: create, use, delete. */
export {
  type AddNodeOptions,
  type Cleaned,
  Cluster,
  ClusterNode,
  type ClusterStatus,
  type CreateClusterOptions,
  clean,
  createCluster,
  deleteCluster,
  exportLogs,
  getCluster,
  type KubectlOptions,
  type ListedCluster,
  listClusters,
  type StartOptions,
  type StepTiming,
  type StopOptions,
} from './cluster/index.ts'
export type * from './config/index.ts'
export { isMayflyError, MayflyError, type MayflyErrorCode } from './errors.ts'
export type { Kube } from './kube/index.ts'
export type { ProgressMode, StepEvent } from './progress/index.ts'
export type {
  RollbackOptions,
  RollbackReport,
  SettledReport,
  Snapshot,
  SnapshotOptions,
} from './snapshot/index.ts'
