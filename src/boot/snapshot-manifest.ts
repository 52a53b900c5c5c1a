/** Raised whenever what is in a base snapshot changes; older ones are made anew. */
export const snapshotVersion = 4

/** What is known of a base snapshot without opening it; kept as `snapshot.json` beside its files. */
export interface SnapshotManifest {
  /** See {@link snapshotVersion}. */
  version: typeof snapshotVersion
  /** Kubernetes version, such as `v1.37.2`. */
  kubernetes: string
  /** Hash of the configuration that it was made with. */
  fingerprint: string
  /** Namespaces in it; each gets the cluster's own CA certificate. */
  namespaces: string[]
  /** Files of a control-plane node below `files/`, absolute paths. */
  controlPlaneFiles: string[]
  /** Those of a worker. */
  workerFiles: string[]
  /** Pods that a cluster starts with; the text of each is in `pods/NAME.json`. */
  pods: PodTemplate[]
}

/** What is known of the pods of one workload. */
export interface PodTemplate {
  /** Name of the workload's owner of pods: a DaemonSet or ReplicaSet. */
  name: string
  namespace: string
  /** How the names of its pods begin. */
  prefix: string
  /** One on each node, as a DaemonSet has. */
  perNode: boolean
  /** How many, where not one on each node. */
  replicas: number
}

/** Image label that holds the manifest of the base snapshot that the image ships. */
export const snapshotLabel = 'io.mayfly.base-snapshot'

/** Where a node image ships its base snapshot. */
export const shippedSnapshotDir = '/usr/share/mayfly/base'

/** Where a node finds a base snapshot that was put into its container. */
export const placedSnapshotDir = '/mayfly/base'

/** Where the kubelet's configuration is on a node, and below `files/` of a snapshot. */
export const kubeletConfigPath = '/var/lib/kubelet/config.yaml'
