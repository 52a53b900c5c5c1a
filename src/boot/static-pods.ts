import { parse, stringify } from 'yaml'
import { nodeMaskFlags } from './cluster-configuration.ts'

/** What is used of a static pod's manifest. */
interface StaticPod {
  metadata: { name: string; uid?: string }
  spec: {
    containers: {
      name: string
      command: string[]
      env?: { name: string; value: string }[]
      startupProbe?: object
      readinessProbe?: object
      livenessProbe?: object
    }[]
  }
}

/** What stands in a snapshot's files for what differs between clusters and nodes. */
export const placeholders = {
  nodeName: '@NODE_NAME@',
  nodeAddress: '@NODE_ADDRESS@',
  clusterName: '@CLUSTER_NAME@',
  etcdCluster: '@ETCD_CLUSTER@',
  etcdClusterState: '@ETCD_CLUSTER_STATE@',
  leaderElection: '@LEADER_ELECTION@',
  etcdHeartbeat: '@ETCD_HEARTBEAT_MS@',
  etcdElection: '@ETCD_ELECTION_MS@',
  nodeMaskSizeIpv4: '@NODE_MASK_SIZE_IPV4@',
  nodeMaskSizeIpv6: '@NODE_MASK_SIZE_IPV6@',
} as const

/** The node that a snapshot is made on. */
export interface Origin {
  name: string
  address: string
  cluster: string
}

/**
 * What the kubelet told the container runtime to make a static pod of, as `mayfly-node static-pods-save` writes it. The
 * twin is in node-image/mayfly-node/internal/staticpods/staticpods.go.
 */
export interface RecordedPod {
  name: string
  uid: string
  /** CRI's PodSandboxConfig. */
  sandbox: object
  /** CRI's ContainerConfig of each container. */
  containers: { metadata: { name: string }; command: string[]; envs?: { key: string; value: string }[] }[]
}

/** A static pod's manifest with placeholders. */
export interface StaticPodTemplate {
  /** As it is put in place, once each placeholder has its value. */
  manifest: string
  /** The command of each container by the container's name, with some of the placeholders. */
  commands: ReadonlyMap<string, string[]>
}

/**
 * Turns a static pod manifest that kubeadm wrote into one that fits any node, and a test cluster: probes look every
 * second from the start on, and etcd does not wait for the disk, for nobody keeps what is in it.
 *
 * @param uid By which the kubelet finds the pod running already; without one it derives its own from the manifest
 */
export function staticPodTemplate(manifest: string, from: Origin, uid?: string): StaticPodTemplate {
  const pod = parse(manifest) as StaticPod
  if (uid !== undefined) pod.metadata.uid = uid
  for (const container of pod.spec.containers) {
    delete container.startupProbe
    for (const probe of [container.readinessProbe, container.livenessProbe]) {
      if (probe) Object.assign(probe, { initialDelaySeconds: 0 })
    }
    // Until a probe has succeeded the pod is not ready; one that fails for four minutes is dead.
    if (container.livenessProbe)
      Object.assign(container.livenessProbe, { periodSeconds: 10, failureThreshold: 24 })
    if (container.readinessProbe) Object.assign(container.readinessProbe, { periodSeconds: 1 })
    container.command = container.command.map((argument) => templateArgument(argument, from.cluster))
    if (pod.metadata.name === 'etcd') container.command.push(...etcdArguments)
    container.env = [...(container.env ?? []), ...variablesOf(pod.metadata.name)]
  }
  return {
    manifest: onAnyNode(stringify(pod), from),
    commands: new Map(pod.spec.containers.map(({ name, command }) => [name, command])),
  }
}

/**
 * The recorded pods as they are made of templates: with the templates' commands, and with placeholders for what is of
 * the node that they were recorded on.
 *
 * @param templates By the pods' names
 */
export function recordedPodTemplates(
  recorded: readonly RecordedPod[],
  templates: ReadonlyMap<string, StaticPodTemplate>,
  from: Origin,
): string {
  const pods = recorded.map((pod) => {
    const commands = templates.get(pod.name)?.commands
    const containers = pod.containers.map((container) => ({
      ...container,
      command: commands?.get(container.metadata.name) ?? container.command,
      envs: [
        ...(container.envs ?? []),
        ...variablesOf(pod.name).map(({ name, value }) => ({ key: name, value })),
      ],
    }))
    return { ...pod, containers }
  })
  return onAnyNode(JSON.stringify(pods), from)
}

/**
 * After this time a component gives back the memory that its start has left, and later what its work has. A boot has
 * ended by then; the twin is in node-image/rest.
 */
export const trimVariable = { name: 'MAYFLY_TRIM_AFTER', value: '7s' } as const

/**
 * etcd keeps the last changes of its log in memory for members that were away, by default 5000 of them, some 15 MiB. A
 * member that was away for longer gets a copy of the data. As a variable, for etcd before 3.6 does not know the flag.
 */
const etcdVariable = { name: 'ETCD_SNAPSHOT_CATCHUP_ENTRIES', value: '500' } as const

/** What the container of a static pod gets beside the variables that it has. */
function variablesOf(pod: string): { name: string; value: string }[] {
  return [{ ...trimVariable }, ...(pod === 'etcd' ? [{ ...etcdVariable }] : [])]
}

const etcdArguments = [
  '--unsafe-no-fsync=true',
  `--initial-cluster-state=${placeholders.etcdClusterState}`,
  `--heartbeat-interval=${placeholders.etcdHeartbeat}`,
  `--election-timeout=${placeholders.etcdElection}`,
]

/** Names of nodes that snapshots are made on are random: they stand for themselves wherever they are part of a longer one. */
function onAnyNode(text: string, from: Origin): string {
  return text
    .replaceAll(wholeWord(from.address), placeholders.nodeAddress)
    .replaceAll(from.name, placeholders.nodeName)
}

/**
 * By it a member compares its data with others' before it starts. What members of one snapshot have is the same; and one that
 * was up first can't answer without the others, who wait for its answer until they give up after 7 s.
 */
const corruptionCheck = /^--(?:feature-gates=InitialCorruptCheck|experimental-initial-corrupt-check)=true$/

function templateArgument(argument: string, cluster: string): string {
  if (argument.startsWith('--initial-cluster=')) return `--initial-cluster=${placeholders.etcdCluster}`
  if (argument === `--cluster-name=${cluster}`) return `--cluster-name=${placeholders.clusterName}`
  // It depends on the number of nodes.
  if (argument.startsWith(`--${nodeMaskFlags[4]}=`))
    return `--${nodeMaskFlags[4]}=${placeholders.nodeMaskSizeIpv4}`
  if (argument.startsWith(`--${nodeMaskFlags[6]}=`))
    return `--${nodeMaskFlags[6]}=${placeholders.nodeMaskSizeIpv6}`
  if (corruptionCheck.test(argument)) return argument.replace(/true$/, 'false')
  if (argument === '--leader-elect=true') return `--leader-elect=${placeholders.leaderElection}`
  return argument
}

function wholeWord(text: string): RegExp {
  return new RegExp(`(?<![\\w.-])${text.replaceAll('.', '\\.')}(?![\\w.-])`, 'g')
}
