/** The cluster room: create a cluster, and the handle of one that runs. */
export { Cluster, type StepTiming } from './cluster.ts'
export { type CreateClusterOptions, createCluster } from './create.ts'
export { ClusterNode } from './node.ts'
