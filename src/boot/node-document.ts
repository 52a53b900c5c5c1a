import type { ContainerFile } from '../engine/index.ts'

/**
 * Raised whenever {@link NodeDocument} changes: an image of another version would not do what it is told, and say nothing.
 * It is the value of the label that marks a node image.
 */
export const nodeImageVersion = '5'

/** Image label that marks a node image. */
export const nodeImageLabel = 'io.mayfly.node-image'

/** Image label with a hash of all that decides what is in a node image. */
export const nodeImageContentLabel = 'io.mayfly.content'

/**
 * What a node is told before it starts, as `/mayfly/node.json`. Its twin is in
 * node-image/mayfly-node/internal/entrypoint/state.go.
 */
export interface NodeDocument {
  /** Folder of the snapshot, inside the node. */
  base: string
  /** Files below the snapshot's `files/` to take over; `values` has what stands in them for what. */
  files: string[]
  values: Record<string, string>
  podCIDRs: string[]
  /** Leads to the pods of the other nodes. */
  routes: { to: string; via: string }[]
  /** The API server's Service addresses, and the API server that they lead to from this node. */
  apiService: { addresses: string[]; endpoint: string }
  /** Names with another address than the engine gives them; written by nodes whose control plane has moved. */
  hosts?: Record<string, string>
  /** On control-plane nodes that the cluster begins with: its place in the etcd cluster. */
  etcd?: { name: string; peerURL: string; initialCluster: string; token: string }
  /** Written to etcd over the snapshot's keys, or beside them. */
  objects: { key: string; value: unknown }[]
  /** Patterns of the snapshot's keys to leave out, in the syntax of Go's path.Match. */
  omit: string[]
  /** Pods to write to etcd: the snapshot's `pods/TEMPLATE.json` with each placeholder replaced by its value. */
  pods: { template: string; key: string; values: Record<string, string> }[]
}

/** The file that a node reads it from. */
export function nodeDocumentFile(document: NodeDocument): ContainerFile {
  return { path: '/mayfly/node.json', content: JSON.stringify(document), mode: 0o600 }
}
