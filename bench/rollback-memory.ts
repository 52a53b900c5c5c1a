import { setTimeout } from 'node:timers/promises'
import { ordinarySuite } from '../test/snapshot/suite.ts'
import type { Benchmark } from './benchmark.ts'
import { memory, restMs } from './memory.ts'
import { createMayfly } from './tool.ts'

/** After how many files the memory is looked at. */
const looks = [0, 10, 25, 50, 75, 100] as const

/** Memory of a cluster that one file after the other has to itself, and that is rolled back after each. */
export const rollbackMemory: Benchmark = {
  rows: () =>
    Object.fromEntries(
      looks.map((files) => [
        `rollback-memory-${files}`,
        {
          unit: 'MiB',
          note: `memory of one node, ${restMs / 1000} s after ${files} suites with 5 pods, each rolled back`,
        } as const,
      ]),
    ),
  async mayfly({ engine, image }) {
    await using cluster = await createMayfly(image)
    const snapshot = await cluster.snapshot()
    const names = cluster.nodes.map(({ name }) => name)
    const figures: Record<string, number> = {}
    let files = 0
    for (const look of looks) {
      for (; files < look; files++) {
        await ordinarySuite(cluster.kube)
        await cluster.rollback(snapshot)
      }
      await setTimeout(restMs)
      figures[`rollback-memory-${look}`] = await memory(engine, names)
    }
    return figures
  },
  // kind has nothing like it.
  peer: async () => undefined,
}
