/** The cluster room: create a cluster, find one, and the handle of one that runs. */
export { type AddNodeOptions, Cluster, type StepTiming } from './cluster.ts'
export { type CreateClusterOptions, clusterSpecOf, createCluster } from './create.ts'
export { type ClusterStatus, exportLogs, getCluster, type ListedCluster, listClusters } from './find.ts'
export { addToKubeconfigFile, removeFromKubeconfigFile } from './kubeconfig-file.ts'
export type { KubectlOptions } from './kubectl.ts'
export { ClusterNode, type StartOptions, type StopOptions } from './node.ts'
export { type Cleaned, clean, deleteCluster } from './remove.ts'
