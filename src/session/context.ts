import type { ClusterContext, Isolation } from '../broker/worker.ts'

/** What is known of a run before it has a cluster. */
export interface RunContext {
  /** What a test file has to itself unless it chooses otherwise. */
  isolation: Isolation
  /** Where relative paths of tests start. */
  root: string
  keepFailedNamespaces: boolean
  diagnosticsDir: string
  /** Where test files ask for a cluster: path of a socket. */
  broker: string
}

/**
 * What tests are told of the run and of the cluster that files share; plain data, so that it travels between processes.
 * `inject('mayfly')` gives it.
 *
 * In a project whose files have clusters of their own (`isolation: 'rollback'` or `'cluster'`) there is no such
 * cluster: it has no nodes then, and its kubeconfig leads to a host name that says so.
 *
 * @public
 */
export interface MayflyContext extends ClusterContext, RunContext {}
