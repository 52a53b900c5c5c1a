import { type Engine, execOrThrow } from '../src/engine/index.ts'
import { conditionOf, connectKube, type KubeObject } from '../src/kube/index.ts'
import { until } from '../src/wait.ts'

/**
 * Waits until a cluster is usable, by one definition for both sides and by neither tool's word: every node Ready,
 * every pod in kube-system Ready, and the cluster's DNS answering through its Service on every node.
 */
export async function waitUntilUsable(
  engine: Engine,
  kubeconfig: string,
  nodes: readonly string[],
): Promise<void> {
  using kube = connectKube(kubeconfig)
  const objects = async (path: string) => (await kube.request<{ items: KubeObject[] }>('GET', path)).items
  const isReady = (object: KubeObject) => conditionOf(object, 'Ready')?.status === 'True'
  await until(
    'the cluster to be usable',
    async () => {
      const [listed, pods] = await Promise.all([
        objects('/api/v1/nodes'),
        objects('/api/v1/namespaces/kube-system/pods'),
      ])
      // Two CoreDNS and four static pods, and on each node kube-proxy and the network daemon.
      const complete = listed.length === nodes.length && pods.length >= 6 + 2 * nodes.length
      return (complete && [...listed, ...pods].every(isReady)) || undefined
    },
    { timeoutMs: 300_000, intervalMs: 50 },
  )
  await Promise.all(
    nodes.map((node) => execOrThrow(engine, node, ['mayfly-node', 'dns-wait', '-server', '10.96.0.10'])),
  )
}
