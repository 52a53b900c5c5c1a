import { execFileSync } from 'node:child_process'
import { readFileSync, readlinkSync } from 'node:fs'
import { hostname } from 'node:os'

/**
 * One process among all that ever ran: a process id alone is given to another process after a while, and means
 * different processes on different hosts, boots and in different containers.
 */
export interface ProcessIdentity {
  host: string
  /** The kernel's id of this boot. */
  boot: string
  /** The PID namespace that `pid` counts in. */
  namespace: string
  pid: number
  /** When it started, in the host's own unit. */
  started: string
}

/** Where something can't be told on a platform; equal to itself, so it never decides anything. */
const untold = '-'

let own: ProcessIdentity | undefined

/** The identity of the process that runs this code. */
export function thisProcess(): ProcessIdentity {
  own ??= {
    host: hostname().replaceAll('/', '_') || untold,
    boot: bootId(),
    namespace: pidNamespace(),
    pid: process.pid,
    started: startTime(process.pid) ?? untold,
  }
  return own
}

/** As it stands in a label: `host/boot/namespace/pid/started`. */
export function formatIdentity({ host, boot, namespace, pid, started }: ProcessIdentity): string {
  return [host, boot, namespace, pid, started].join('/')
}

/** Reads {@link formatIdentity}'s form back; `undefined` for anything else. */
export function parseIdentity(text: string): ProcessIdentity | undefined {
  const [host, boot, namespace, pid, started, ...more] = text.split('/')
  if (!host || !boot || !namespace || !started || more.length > 0 || !/^\d+$/.test(pid ?? ''))
    return undefined
  return { host, boot, namespace, pid: Number(pid), started }
}

/** What can be told about a process from here. */
export type Liveness = 'alive' | 'dead' | 'earlier boot' | 'unknown'

/** Whether a process lives, as seen from process `here`; unknown for processes of other hosts and containers. */
export function livenessOf(process: ProcessIdentity, here: ProcessIdentity = thisProcess()): Liveness {
  if (process.host !== here.host) return 'unknown'
  if (process.boot !== here.boot) return 'earlier boot'
  if (process.namespace !== here.namespace) return 'unknown'
  return isRunning(process.pid, process.started) ? 'alive' : 'dead'
}

/** Whether the process with this id runs and is the one that started then. */
export function isRunning(pid: number, started: string): boolean {
  try {
    process.kill(pid, 0)
  } catch (thrown) {
    // Not allowed to signal it, so it is there.
    if ((thrown as NodeJS.ErrnoException).code !== 'EPERM') return false
  }
  const since = startTime(pid)
  // It may be there and not be shown (/proc mounted with hidepid); then the process id alone has to do.
  return since === undefined || started === untold || since === started
}

/**
 * Reads the start time, in clock ticks since boot, out of a /proc/PID/stat: field 22 (man proc_pid_stat). The command's
 * name, field 2, may contain blanks and parentheses.
 *
 * @returns `dead` for a process that has ended and is only not yet reaped by its parent
 */
export function startTimeFromStat(stat: string): string | undefined {
  const [state, ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  if (state === 'Z' || state === 'X') return 'dead'
  return fields[22 - 4]
}

function startTime(pid: number): string | undefined {
  try {
    if (process.platform === 'linux') return startTimeFromStat(readFileSync(`/proc/${pid}/stat`, 'utf8'))
    if (process.platform === 'win32') return undefined
    const printed = execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], {
      encoding: 'utf8',
      env: { ...process.env, LC_ALL: 'C', TZ: 'UTC' },
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    return printed.trim().replaceAll(/\W+/g, '-') || undefined
  } catch {
    return undefined
  }
}

function bootId(): string {
  try {
    if (process.platform === 'linux') return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
    if (process.platform === 'darwin') {
      const printed = execFileSync('sysctl', ['-n', 'kern.boottime'], { encoding: 'utf8' })
      return /sec = (\d+)/.exec(printed)?.[1] ?? untold
    }
  } catch {}
  return untold
}

function pidNamespace(): string {
  try {
    return /\d+/.exec(readlinkSync('/proc/self/ns/pid'))?.[0] ?? untold
  } catch {
    return untold
  }
}
