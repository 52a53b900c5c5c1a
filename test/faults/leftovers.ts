import { readdirSync, readFileSync } from 'node:fs'
import { connectEngine } from '../../src/engine/index.ts'
import { listBelongings } from '../../src/reaper/index.ts'
import { until } from '../../src/wait.ts'

/** Time within which nothing may be left of a cluster whose process is gone, in milliseconds. */
const cleanWithinMs = 15_000

/** Waits until no container, network or volume has these labels. */
export async function nothingLeft(labels: Record<string, string>): Promise<void> {
  const engine = await connectEngine()
  await until(
    'nothing to be left',
    async (signal, report) => {
      const { containers, networks, volumes } = await listBelongings(engine, labels, { signal })
      const names = [...containers, ...networks, ...volumes].map(({ name }) => name)
      report(names.join(', '))
      return names.length === 0 || undefined
    },
    { timeoutMs: cleanWithinMs, intervalMs: 200 },
  )
}

/** Waits until no watchdog of this owner runs. */
export async function noWatchdogLeft(owner: string): Promise<void> {
  await until(
    'the watchdog to end',
    async () =>
      !commandLines().some((line) => line.includes('watchdog-main') && line.includes(owner)) || undefined,
    { timeoutMs: cleanWithinMs, intervalMs: 200 },
  )
}

function commandLines(): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
      } catch {
        return '' // it ended in between
      }
    })
}
