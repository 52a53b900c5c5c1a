/**
 * Looks at every process of this host 20 times a second until standard input ends, then prints what it saw as one
 * {@link ProcessTrace} of JSON. A program of its own, so that it does not count as part of what it looks at.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { pause } from '../../src/wait.ts'

/** A process, and how much processor time it took. */
export interface ProcessTrace {
  pid: number
  argv: string[]
  /** Id of the container that it belongs to; empty for the host's. */
  container: string
  /** Milliseconds of processor time since the look before; `at` is milliseconds since the epoch. */
  samples: { at: number; busy: number }[]
}

const intervalMs = 50
/** @see proc_pid_stat(5): times are in ticks, of which Linux has 100 a second on every platform of Node.js. */
const msPerTick = 10

interface Seen extends ProcessTrace {
  total: number
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return '' // it has ended
  }
}

function processorTime(pid: string): number | undefined {
  const stat = read(`/proc/${pid}/stat`)
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return stat ? (Number(fields[11]) + Number(fields[12])) * msPerTick : undefined
}

const seen = new Map<string, Seen | 'kernel'>()

function look(first: boolean): void {
  const at = Date.now()
  for (const pid of readdirSync('/proc')) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue
    const known = seen.get(pid)
    if (known === 'kernel') continue
    const total = processorTime(pid)
    if (total === undefined) continue
    // A process that execs, as a container's first one does, becomes another program.
    if (!known || known.samples.length < 4) {
      const argv = read(`/proc/${pid}/cmdline`).split('\0').slice(0, -1)
      const container = /\/docker\/([0-9a-f]{64})/.exec(read(`/proc/${pid}/cgroup`))?.[1] ?? ''
      if (argv.length === 0 && !known) seen.set(pid, 'kernel')
      else if (known) Object.assign(known, argv.length > 0 && { argv, container })
      else seen.set(pid, { pid: Number(pid), argv, container, samples: [], total: first ? total : 0 })
    }
    const entry = seen.get(pid)
    if (!entry || entry === 'kernel') continue
    entry.samples.push({ at, busy: total - entry.total })
    entry.total = total
  }
}

const over = new AbortController()
process.stdin.on('end', () => over.abort()).resume()
look(true)
console.log('looking')
while (!over.signal.aborted) {
  await pause(intervalMs, over.signal)
  look(false)
}
const traces = [...seen.values()].filter((entry) => entry !== 'kernel')
console.log(JSON.stringify(traces.map(({ total, ...trace }): ProcessTrace => trace)))
