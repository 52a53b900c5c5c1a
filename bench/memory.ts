import type { Engine } from '../src/engine/index.ts'

/** How long a cluster is left alone before its memory is read: until then it has what its work needed as well. */
export const restMs = 30_000

/**
 * Memory of containers in MiB as the kernel accounts it, without the page cache of files: that can be given back, and what
 * several containers read is put down to the first of them alone. Rejects if the engine
 * reports none, as Docker 20.10 does where a container is in a cgroup hierarchy that its host has not mounted.
 */
export async function memory(engine: Engine, containers: readonly string[]): Promise<number> {
  const amounts = await Promise.all(
    containers.map(async (name) => {
      const stats = (await engine.docker.getContainer(name).stats({ stream: false })) as {
        memory_stats: { usage?: number; stats?: Record<string, number> }
      }
      const { usage, stats: details } = stats.memory_stats
      if (usage === undefined || !details) {
        throw new Error(
          `The container engine reports no memory for ${name}: see its log, and whether every hierarchy in /proc/self/cgroup is mounted`,
        )
      }
      const cached = ['inactive_file', 'active_file'].map(
        (name) => details[`total_${name}`] ?? details[name] ?? 0,
      )
      return cached.reduce((left, bytes) => left - bytes, usage)
    }),
  )
  return Math.round(amounts.reduce((sum, amount) => sum + amount, 0) / 2 ** 20)
}
