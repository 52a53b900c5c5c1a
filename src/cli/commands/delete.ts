import { Command } from 'commander'
import { deleteCluster, listClusters, removeFromKubeconfigFile } from '../../cluster/index.ts'
import { defaultName } from './names.ts'

interface DeleteFlags {
  kubeconfig?: string
}

/** `mayfly delete …` */
export function deleteCommand(): Command {
  return new Command('delete')
    .description('delete one of: cluster, clusters')
    .addCommand(clusterCommand())
    .addCommand(clustersCommand())
}

function clusterCommand(): Command {
  return new Command('cluster')
    .description('delete a cluster; it is no error when there is none')
    .option('-n, --name <name>', 'name of the cluster', defaultName)
    .option('--kubeconfig <file>', 'take the cluster out of this kubeconfig as well')
    .action(async ({ name, kubeconfig }: DeleteFlags & { name: string }) => {
      await deleteAll([name], kubeconfig)
    })
}

function clustersCommand(): Command {
  return new Command('clusters')
    .description('delete several clusters')
    .argument('[names...]')
    .option('-A, --all', 'all clusters, also those in use')
    .option('--kubeconfig <file>', 'take the clusters out of this kubeconfig as well')
    .action(async (names: string[], { all, kubeconfig }: DeleteFlags & { all?: true }, command: Command) => {
      if (!all && names.length === 0) command.error('Name the clusters to delete, or give --all.')
      const wanted = all ? (await listClusters()).map(({ name }) => name) : names
      await deleteAll(wanted, kubeconfig)
    })
}

async function deleteAll(names: readonly string[], kubeconfig: string | undefined): Promise<void> {
  await Promise.all(
    names.map(async (name) => {
      const found = await deleteCluster(name)
      console.error(found ? `Deleted cluster ${name}` : `There is no cluster ${name}`)
    }),
  )
  for (const name of kubeconfig === undefined ? [] : names) {
    await removeFromKubeconfigFile(kubeconfig as string, `mayfly-${name}`)
  }
}
