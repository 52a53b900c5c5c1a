import { setTimeout } from 'node:timers/promises'
import {
  createContainer,
  createNetwork,
  removeContainer,
  removeNetwork,
  startContainer,
} from '../src/engine/index.ts'
import { type Benchmark, bothSides, type Setting, seconds } from './benchmark.ts'
import { kindHasLoadBalancer } from './kind.ts'
import { memory, restMs } from './memory.ts'
import { createUsable, nodes, type RunningCluster, type Shape, type Tool } from './tool.ts'

/** One node, from nothing to usable. */
export const oneNode = bothSides(
  { 'boot-1': { unit: 's', note: 'one node, from nothing until it is usable' } },
  async (tool, { engine }) => ({ 'boot-1': await timeBoot(() => createUsable(tool, engine)) }),
)

/** The whole life of a cluster with three nodes; and what of its end is the engine's, whatever has run in the nodes. */
export const threeNodes: Benchmark = {
  rows: () => ({
    'boot-3': { unit: 's', note: 'three nodes, from nothing until they are usable' },
    'memory-3': { unit: 'MiB', note: `memory of three nodes, ${restMs / 1000} s after they were usable` },
    'delete-3': { unit: 's', note: 'deleting three nodes' },
    'delete-3-idle': {
      unit: 's',
      note: "the engine removes three containers that only sleep; beside it kind's deletion of three nodes",
    },
  }),
  async mayfly(setting) {
    const figures = await lifeOfThree(setting.mayfly, setting, nodes(3))
    return { ...figures, 'delete-3-idle': await removeSleepers(setting, 3) }
  },
  async peer(setting) {
    const figures = await lifeOfThree(setting.kind, setting, nodes(3))
    return { ...figures, 'delete-3-idle': figures['delete-3'] }
  },
}

/** A cluster's boot, its memory at rest, and its end. */
export async function lifeOfThree(
  tool: Tool,
  { engine }: Pick<Setting, 'engine'>,
  shape: Shape,
): Promise<Readonly<Record<'boot-3' | 'memory-3' | 'delete-3', number>>> {
  let cluster: RunningCluster | undefined
  const boot = await seconds(async () => {
    cluster = await createUsable(tool, engine, shape)
  })
  await setTimeout(restMs)
  const used = await memory(engine, cluster?.nodes ?? [])
  return { 'boot-3': boot, 'memory-3': used, 'delete-3': await seconds(async () => cluster?.delete()) }
}

/** Seconds that the engine takes to remove containers at once that have no volumes and run one program that does nothing. */
async function removeSleepers({ engine, image }: Setting, count: number): Promise<number> {
  const name = 'mayfly-bench-sleepers'
  const sleepers = Array.from({ length: count }, (_, at) => `${name}-${at}`)
  const removeAll = () => Promise.all(sleepers.map((sleeper) => removeContainer(engine, sleeper)))
  await createNetwork(engine, { name })
  try {
    for (const sleeper of sleepers) {
      await createContainer(engine, {
        name: sleeper,
        image,
        entrypoint: ['sleep', 'infinity'],
        command: [],
        network: name,
        // One of a cluster's nodes has a port on the host.
        ports: sleeper === sleepers[0] ? [{ containerPort: 6443 }] : [],
      })
      await startContainer(engine, sleeper)
    }
    await setTimeout(restMs / 10)
    return await seconds(removeAll)
  } finally {
    await removeAll()
    await removeNetwork(engine, name)
  }
}

const highlyAvailable: Shape = { controlPlanes: 3 }
const bootHa = bothSides(
  { 'boot-ha': { unit: 's', note: 'three control planes behind a load balancer, until they are usable' } },
  async (tool, { engine }) => ({
    'boot-ha': await timeBoot(() => createUsable(tool, engine, highlyAvailable)),
  }),
)

/** Three control planes. kind takes its load balancer from a registry, which not every host reaches. */
export const threeControlPlanes: Benchmark = {
  ...bootHa,
  peer: async (setting) => ((await kindHasLoadBalancer(setting.engine)) ? bootHa.peer(setting) : undefined),
}

/** Boots with more and more nodes. */
export const moreNodes = bothSides(
  ({ sizes }) =>
    Object.fromEntries(
      sizes.map((size) => [`scale-nodes-${size}`, { unit: 's', note: `boot with ${size} node(s)` }] as const),
    ),
  async (tool, { engine, sizes }) => {
    const figures: Record<string, number> = {}
    for (const size of sizes)
      figures[`scale-nodes-${size}`] = await timeBoot(() => createUsable(tool, engine, nodes(size)))
    return figures
  },
)

/** Seconds until a cluster is there; it is deleted before this returns. */
async function timeBoot(create: () => Promise<RunningCluster>): Promise<number> {
  let cluster: RunningCluster | undefined
  const took = await seconds(async () => {
    cluster = await create()
  })
  await cluster?.delete()
  return took
}
