import { Command, InvalidArgumentError, Option } from 'commander'
import { addToKubeconfigFile, createCluster } from '../../cluster/index.ts'
import type { NodeRole } from '../../config/index.ts'
import { defaultName } from './names.ts'

/** `mayfly create …` */
export function createCommand(): Command {
  return new Command('create').description('create one of: cluster').addCommand(clusterCommand())
}

interface ClusterFlags {
  name?: string
  config?: string
  image?: string
  from?: string
  nodes?: NodeRole[]
  wait?: number
  retain?: true
  kubeconfig?: string
  quiet?: true
}

function clusterCommand(): Command {
  return new Command('cluster')
    .description('create a cluster, which stays until it is deleted')
    .option('-n, --name <name>', `name of the cluster (default: ${defaultName}, or the config file's)`)
    .option('--config <file>', "kind's v1alpha4 configuration, with mayfly's own fields")
    .option('--image <reference>', 'node image')
    .option('--from <file>', 'begin with the state in this file, which `cluster.saveSnapshot` wrote')
    .addOption(
      new Option(
        '--nodes <n>',
        'number of nodes, of which the first is the control plane; or a list: control-plane,worker,worker',
      ).argParser(parseNodes),
    )
    .addOption(
      new Option('--wait <duration>', 'give up after: 90s, 5m (default: 3m)').argParser(parseDuration),
    )
    .option('--retain', 'keep the nodes of a cluster that could not be created, to look at them')
    .option('--kubeconfig <file>', 'add the cluster to this kubeconfig and make it the current context')
    .option('-q, --quiet', 'no progress')
    .action(async ({ name, config, wait, kubeconfig, quiet, ...rest }: ClusterFlags) => {
      const interrupt = new AbortController()
      for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
        process.once(signal, () => interrupt.abort(new Error(`interrupted by ${signal}`)))
      }
      const ownName = name ?? (config === undefined ? defaultName : undefined)
      const cluster = await createCluster({
        ...rest,
        ...(ownName !== undefined && { name: ownName }),
        ...(config !== undefined && { config }),
        ...(wait !== undefined && { timeoutMs: wait }),
        ...(quiet && { progress: 'silent' }),
        keep: true,
        signal: interrupt.signal,
      })
      if (kubeconfig !== undefined) await addToKubeconfigFile(kubeconfig, cluster.kubeconfig)
      if (!quiet) console.error(usage(cluster.name, kubeconfig))
      cluster.kube.close()
    })
}

function usage(name: string, kubeconfig: string | undefined): string {
  return kubeconfig === undefined
    ? `Cluster ${name} is ready: npx mayfly get kubeconfig --name ${name} > kubeconfig`
    : `Cluster ${name} is ready: kubectl --kubeconfig ${kubeconfig} --context mayfly-${name} get nodes`
}

function parseNodes(text: string): NodeRole[] {
  if (/^[1-9]\d?$/.test(text)) {
    return Array.from({ length: Number(text) }, (_, at) => (at === 0 ? 'control-plane' : 'worker'))
  }
  return text.split(',').map((role) => {
    if (role === 'control-plane' || role === 'worker') return role
    throw new InvalidArgumentError('Give a number, or a list of control-plane and worker.')
  })
}

const unitMs = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

/** Durations as Go writes them: `90s`, `1m30s`. */
function parseDuration(text: string): number {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)]
  if (parts.length === 0 || parts.map(([part]) => part).join('') !== text) {
    throw new InvalidArgumentError('Give a duration such as 90s or 5m.')
  }
  return parts.reduce(
    (sum, [, amount, unit]) => sum + Number(amount) * unitMs[unit as keyof typeof unitMs],
    0,
  )
}
