import type { Engine } from '../src/engine/index.ts'
import { type Cluster, createCluster } from '../src/index.ts'
import type { Kind } from './kind.ts'
import { waitUntilUsable } from './usable.ts'

/** What a measurement is given. */
interface Side {
  engine: Engine
  image: string
}

/** One thing that both sides do, and how long or how much it takes them. */
interface Benchmark {
  unit: 's' | 'MiB'
  mayfly(side: Side): Promise<number>
  peer(side: Side & { kind: Kind }): Promise<number>
}

const peerName = 'mayfly-bench-peer'

/** Every benchmark by its name. */
export const benchmarks: Readonly<Record<string, Benchmark>> = {
  'boot-1': boot(1),
  'boot-3': boot(3),
  'delete-3': {
    unit: 's',
    async mayfly({ image }) {
      const cluster = await create(3, image)
      return seconds(() => cluster.delete())
    },
    async peer({ kind }) {
      await kind.create(peerName, 3)
      return seconds(() => kind.run(['delete', 'cluster', '--name', peerName]))
    },
  },
  'memory-3': {
    unit: 'MiB',
    async mayfly({ engine, image }) {
      await using cluster = await create(3, image)
      await waitUntilUsable(engine, cluster.kubeconfig, names(cluster))
      return memory(engine, names(cluster))
    },
    async peer({ engine, kind }) {
      try {
        const kubeconfig = await kind.create(peerName, 3)
        await waitUntilUsable(engine, kubeconfig, peerNodes(3))
        return await memory(engine, peerNodes(3))
      } finally {
        await kind.run(['delete', 'cluster', '--name', peerName])
      }
    },
  },
}

function boot(nodes: number): Benchmark {
  return {
    unit: 's',
    async mayfly({ engine, image }) {
      let cluster: Cluster | undefined
      const took = await seconds(async () => {
        cluster = await create(nodes, image)
        await waitUntilUsable(engine, cluster.kubeconfig, names(cluster))
      })
      await cluster?.delete()
      return took
    },
    async peer({ engine, kind }) {
      try {
        return await seconds(async () => {
          const kubeconfig = await kind.create(peerName, nodes)
          await waitUntilUsable(engine, kubeconfig, peerNodes(nodes))
        })
      } finally {
        await kind.run(['delete', 'cluster', '--name', peerName])
      }
    },
  }
}

function create(nodes: number, image: string): Promise<Cluster> {
  const workers = Array.from({ length: nodes - 1 }, () => 'worker' as const)
  return createCluster({ nodes: ['control-plane', ...workers], image, progress: 'silent' })
}

function names(cluster: Cluster): string[] {
  return cluster.nodes.map(({ name }) => name)
}

function peerNodes(count: number): string[] {
  const all = [`${peerName}-control-plane`]
  for (let at = 1; at < count; at++) all.push(`${peerName}-worker${at === 1 ? '' : at}`)
  return all
}

/** Memory of the nodes' containers as the kernel accounts it, without page cache that can be given back. */
async function memory(engine: Engine, nodes: readonly string[]): Promise<number> {
  const amounts = await Promise.all(
    nodes.map(async (node) => {
      const stats = (await engine.docker.getContainer(node).stats({ stream: false })) as {
        memory_stats: { usage: number; stats: Record<string, number> }
      }
      const { usage, stats: details } = stats.memory_stats
      return usage - (details['total_inactive_file'] ?? details['inactive_file'] ?? 0)
    }),
  )
  return Math.round(amounts.reduce((sum, amount) => sum + amount, 0) / 2 ** 20)
}

async function seconds(work: () => Promise<unknown>): Promise<number> {
  const begun = performance.now()
  await work()
  return Math.round((performance.now() - begun) / 10) / 100
}
