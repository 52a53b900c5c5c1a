import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { ClusterContext, OwnIsolation } from '../broker/index.ts'

/**
 * What `inject` gives where there is no cluster that files share. Whoever uses it all the same must not reach a cluster that
 * is another file's: the kubeconfig leads to a host that does not exist and whose name, which every client puts into its
 * error, tells what to use instead.
 *
 * @param cluster Any of the plan's
 * @param folder Gets the file that `kubeconfigPath` names
 */
export async function standInFor(
  isolation: OwnIsolation,
  cluster: ClusterContext,
  folder: string,
): Promise<ClusterContext> {
  const name = `isolation-is-${isolation}`
  const server = `https://${name}.use-the-cluster-fixture.invalid`
  const kubeconfig = cluster.kubeconfig.replace(/server: .*/, `server: ${server}`)
  const kubeconfigPath = join(folder, 'kubeconfig')
  await writeFile(kubeconfigPath, kubeconfig, { mode: 0o600 })
  return { ...cluster, name, kubeconfig, kubeconfigPath, internalKubeconfig: kubeconfig, nodes: [] }
}
