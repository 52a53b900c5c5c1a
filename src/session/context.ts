import type { NodeRole } from '../config/index.ts'

/**
 * What tests are told of their cluster; plain data, so that it travels between processes. `inject('mayfly')` gives it.
 *
 * @public
 */
export interface MayflyContext {
  /** The cluster's name. */
  name: string
  /** Kubeconfig, as text, for this host. */
  kubeconfig: string
  /** The same in a file, for programs that want a `KUBECONFIG`. */
  kubeconfigPath: string
  /** Kubeconfig, as text, for pods and for containers in the cluster's network. */
  internalKubeconfig: string
  nodes: { name: string; role: NodeRole; addresses: string[] }[]
  /** The images of the `images` option, by the names under which nodes have them. */
  images: string[]
  /** Namespaces in which the `manifests` option put pods, whose logs tell why a test failed. */
  manifestNamespaces: string[]
  /** Where relative paths of tests start. */
  root: string
  keepFailedNamespaces: boolean
  diagnosticsDir: string
}
