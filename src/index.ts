/** Ephemeral multi-node Kubernetes clusters: create, use, delete. */
export {
  Cluster,
  ClusterNode,
  type CreateClusterOptions,
  createCluster,
  type StepTiming,
} from './cluster/index.ts'
export type * from './config/index.ts'
export { isMayflyError, MayflyError, type MayflyErrorCode } from './errors.ts'
export type { Kube } from './kube/index.ts'
export type { ProgressMode, StepEvent } from './progress/index.ts'
