import { relative } from 'node:path'
import { type Isolation, isOwn, leaseCluster } from '../broker/worker.ts'
import { attachCluster, type TestCluster } from './attached.ts'
import type { MayflyContext, RunContext } from './context.ts'

/** The cluster of a test file, from its first test to its last. */
export interface FileCluster {
  cluster: TestCluster
  /** The run's context, with the file's cluster and isolation. */
  context: MayflyContext
  /** Gives the cluster back, for others or for good. */
  release(): Promise<void>
}

/**
 * Connects a test file to its cluster: the one that files share, or one of its own, for which it may have to wait.
 *
 * @param path The test file
 * @throws MayflyError what keeps a cluster from being made for it
 */
export async function clusterForFile(
  run: MayflyContext | RunContext,
  isolation: Isolation,
  path: string,
): Promise<FileCluster> {
  const isTold = 'kubeconfig' in run && !isOwn(isolation) && !isOwn(run.isolation)
  const file = relative(run.root, path)
  const lease = isTold ? undefined : await leaseCluster(run.broker, { isolation, file })
  const context = { ...(run as MayflyContext), ...lease?.cluster, isolation }
  const cluster = attachCluster(context)
  return {
    cluster,
    context,
    async release() {
      cluster.kube.close()
      await lease?.release()
    },
  }
}
