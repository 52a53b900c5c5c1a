import { type Engine, execOrThrow } from '../src/engine/index.ts'
import { connectKube } from '../src/kube/index.ts'
import { until } from '../src/wait.ts'

/** What is looked at. */
interface Subject {
  kubeconfig: string
  /** Names of the nodes' containers. */
  nodes: readonly string[]
  /** When the cluster's creation began: whatever says that it is older tells of another life of it. */
  since: Date
}

interface Condition {
  type: string
  status: string
  lastHeartbeatTime?: string
}

/** The fields of a Node that count. */
interface NodeObject {
  metadata: { name: string; labels?: Record<string, string> }
  status?: { conditions?: readonly Condition[] }
}

/** The fields of a Pod that count. */
interface Pod {
  metadata: { name: string }
  spec: { containers: readonly unknown[] }
  status?: {
    conditions?: readonly Condition[]
    containerStatuses?: readonly { state?: { running?: { startedAt?: string } } }[]
  }
}

/**
 * Waits until a cluster is usable, by one definition for both sides and by neither tool's word:
 *
 * - every node is Ready, as its own kubelet has said since the creation began;
 * - every pod in kube-system is Ready, all its containers run, and they were started since then: what a saved state says
 *   of pods that ran elsewhere does not count;
 * - on every node the cluster's DNS answers through its Service to somebody in the pod network.
 */
export async function waitUntilUsable(engine: Engine, { kubeconfig, nodes, since }: Subject): Promise<void> {
  using kube = connectKube(kubeconfig)
  const objects = async <T>(path: string) => (await kube.request<{ items: T[] }>('GET', path)).items
  await until(
    'the cluster to be usable',
    async (_, report) => {
      const [listed, pods] = await Promise.all([
        objects<NodeObject>('/api/v1/nodes'),
        objects<Pod>('/api/v1/namespaces/kube-system/pods'),
      ])
      const missing = unusable({ nodes: nodes.length, listed, pods, since })
      report(missing.join(', '))
      return missing.length === 0 || undefined
    },
    { timeoutMs: 300_000, intervalMs: 50 },
  )
  await Promise.all(nodes.map((node) => execOrThrow(engine, node, ['sh', '-ec', askFromPodNetwork])))
}

/** What keeps a cluster from being usable, as names of objects. Pure. */
export function unusable(seen: {
  nodes: number
  listed: readonly NodeObject[]
  pods: readonly Pod[]
  since: Date
}): string[] {
  // The API tells times in whole seconds.
  const since = Math.floor(seen.since.getTime() / 1000) * 1000
  const isNow = (time: string | undefined) => time !== undefined && Date.parse(time) >= since
  const complaints = [
    ...seen.listed.filter((node) => {
      const ready = readiness(node)
      return ready?.status !== 'True' || !isNow(ready.lastHeartbeatTime)
    }),
    ...seen.pods.filter((pod) => {
      const started = pod.status?.containerStatuses?.map(({ state }) => state?.running?.startedAt) ?? []
      const allRun = started.length === pod.spec.containers.length && started.every(isNow)
      return readiness(pod)?.status !== 'True' || !allRun
    }),
  ].map(({ metadata }) => metadata.name)
  if (seen.listed.length < seen.nodes) complaints.push(`${seen.nodes - seen.listed.length} nodes`)
  const wanted = expectedPods(seen.listed)
  if (seen.pods.length < wanted) complaints.push(`${wanted - seen.pods.length} pods`)
  return complaints
}

function readiness({ status }: NodeObject | Pod): Condition | undefined {
  return status?.conditions?.find(({ type }) => type === 'Ready')
}

/** Two CoreDNS, four static pods on each control plane, and on each node kube-proxy and the network daemon. */
function expectedPods(nodes: readonly NodeObject[]): number {
  const role = 'node-role.kubernetes.io/control-plane'
  const controlPlanes = nodes.filter(({ metadata }) => metadata.labels?.[role] !== undefined)
  return 2 + 4 * controlPlanes.length + 2 * nodes.length
}

/**
 * Asks as a pod would: from a network namespace that the node's own network plugin has connected. It takes no pod, for
 * both sides would have to start one first.
 */
const askFromPodNetwork = `
ip netns add bench
jq '. as $list | .plugins[0] + {name: $list.name, cniVersion: $list.cniVersion}' /etc/cni/net.d/*.conflist > /tmp/bench-cni.json
export CNI_COMMAND=ADD CNI_CONTAINERID=bench CNI_NETNS=/run/netns/bench CNI_IFNAME=eth0 CNI_PATH=/opt/cni/bin
/opt/cni/bin/$(jq -r .type /tmp/bench-cni.json) < /tmp/bench-cni.json
nsenter --net=/run/netns/bench mayfly-node dns-wait -here -server 10.96.0.10
`
