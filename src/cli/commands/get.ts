import { Command } from 'commander'
import { getCluster, type ListedCluster, listClusters } from '../../cluster/index.ts'
import { MayflyError } from '../../errors.ts'
import { defaultName } from './names.ts'

/** `mayfly get …` */
export function getCommand(): Command {
  return new Command('get')
    .description('show one of: clusters, nodes, kubeconfig')
    .addCommand(clustersCommand())
    .addCommand(nodesCommand())
    .addCommand(kubeconfigCommand())
}

function clustersCommand(): Command {
  return new Command('clusters')
    .description('list clusters, one name a line')
    .option('--json', 'all that is known of them, as JSON')
    .action(async ({ json }: { json?: true }) => {
      const clusters = await listClusters()
      if (json) return console.log(JSON.stringify(clusters, undefined, 2))
      if (clusters.length === 0) console.error('There is no cluster.')
      for (const { name } of clusters) console.log(name)
      // Not on standard output, which is for scripts.
      for (const { name, status } of clusters) {
        if (status !== 'ready') console.error(`(${name} is ${status})`)
      }
    })
}

function nodesCommand(): Command {
  return new Command('nodes')
    .description('list the nodes of a cluster, one name a line')
    .option('-n, --name <name>', 'name of the cluster', defaultName)
    .option('-A, --all-clusters', 'the nodes of all clusters')
    .action(async ({ name, allClusters }: { name: string; allClusters?: true }) => {
      const clusters = await listClusters()
      const chosen = allClusters ? clusters : [named(name, clusters)]
      for (const { nodes } of chosen) for (const node of nodes) console.log(node.name)
    })
}

function named(name: string, clusters: readonly ListedCluster[]): ListedCluster {
  const found = clusters.find((cluster) => cluster.name === name)
  if (found) return found
  const others = clusters.map((cluster) => cluster.name).join(', ')
  throw new MayflyError('CLUSTER_NOT_FOUND', `There is no cluster "${name}"`, {
    hint: others ? `There is ${others}; name it with --name` : 'Create one with `npx mayfly create cluster`',
  })
}

function kubeconfigCommand(): Command {
  return new Command('kubeconfig')
    .description('print the kubeconfig of a cluster')
    .option('-n, --name <name>', 'name of the cluster', defaultName)
    .option('--internal', "for containers in the cluster's own network, in place of this host")
    .action(async ({ name, internal }: { name: string; internal?: true }) => {
      await using cluster = await getCluster(name)
      process.stdout.write(internal ? cluster.internalKubeconfig : cluster.kubeconfig)
    })
}
