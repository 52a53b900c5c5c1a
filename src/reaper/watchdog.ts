import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Engine, EnginePlace } from '../engine/index.ts'
import { MayflyError } from '../errors.ts'
import { formatIdentity, thisProcess } from './process-identity.ts'

/** A line from the owner to its watchdog, as JSON. */
export type WatchdogMessage =
  | { engine: EnginePlace }
  /** An instance of a cluster that is to outlive the owner, once it is made. */
  | { making: string }
  | { made: string }
  | { released: true }

/** The promise to clean up after oneself; while one is held, the watchdog stands by. */
export interface Lease extends AsyncDisposable {
  /** Everything that it stood for is deleted. With the last one the watchdog goes as well. */
  release(): Promise<void>
}

/** What a lease is for, beside all that this process owns. */
export interface LeaseOptions {
  /** The instance of a kept cluster that is being made: it goes too, unless the lease is released first. */
  making?: string | undefined
}

/** How often a watchdog that died is replaced before its owner is told. */
const replacements = 3

interface Watchdog {
  child: ChildProcess
  pipe: Socket
  logFile: string
}

// One watchdog for all clusters of a process.
let watchdog: Promise<Watchdog> | undefined
let deaths = 0
const leases = new Map<symbol, LeaseOptions>()
const engines = new Map<string, EnginePlace>()

/**
 * Has a watchdog stand by that deletes all that is labelled with this process as the owner, and its private folders, as
 * soon as this process is gone, however it ended. Take a lease before the first thing is made, and release it when all
 * is deleted.
 *
 * The watchdog is a process in a session of its own, so it outlives Ctrl-C and a closed terminal; it holds the other
 * end of a pipe from this process, which breaks with any death; it keeps this process from nothing, not even from
 * ending. It logs to `mayfly-watchdog-*.log` in the system's temporary folder, and only a failure leaves that file.
 *
 * @throws MayflyError `HOST_UNFIT` when no process can be started
 */
export async function startWatchdog(engine: Engine, options: LeaseOptions = {}): Promise<Lease> {
  const id = Symbol('lease')
  const { making } = options
  leases.set(id, options)
  const isNew = !engines.has(engine.place.address)
  engines.set(engine.place.address, engine.place)
  try {
    const running = watchdog
    watchdog ??= spawnWatchdog()
    const { pipe } = await watchdog
    if (running && isNew) tell(pipe, { engine: engine.place })
    if (running && making !== undefined) tell(pipe, { making })
  } catch (thrown) {
    leases.delete(id)
    watchdog = undefined
    throw thrown
  }
  const release = async () => {
    if (!leases.delete(id)) return
    if (leases.size > 0) {
      if (making !== undefined && watchdog) tell((await watchdog).pipe, { made: making })
      return
    }
    const leaving = watchdog
    watchdog = undefined
    engines.clear()
    const { pipe } = (await leaving) ?? {}
    if (!pipe) return
    tell(pipe, { released: true })
    pipe.end()
  }
  return { release, [Symbol.asyncDispose]: release }
}

async function spawnWatchdog(): Promise<Watchdog> {
  const logFile = join(tmpdir(), `mayfly-watchdog-${process.pid}-${randomUUID().slice(0, 8)}.log`)
  const program = fileURLToPath(import.meta.url).replace(/watchdog(\.[jt]s)$/, 'watchdog-main$1')
  const log = openSync(logFile, 'wx', 0o600)
  try {
    const child = spawn(process.execPath, [program, formatIdentity(thisProcess()), logFile], {
      // A session of its own: Ctrl-C and a hang-up of the terminal go to the owner's process group only.
      detached: true,
      cwd: tmpdir(),
      env: watchdogEnvironment(),
      stdio: ['pipe', 'ignore', log],
      windowsHide: true,
    })
    const pipe = child.stdin as Socket
    // A watchdog that died is noticed by its exit.
    pipe.on('error', () => undefined)
    const started = { child, pipe, logFile }
    child.once('exit', () => onExit(started))
    await once(child, 'spawn')
    child.unref()
    pipe.unref()
    for (const engine of engines.values()) tell(pipe, { engine })
    for (const { making } of leases.values()) if (making !== undefined) tell(pipe, { making })
    return started
  } catch (cause) {
    throw new MayflyError('HOST_UNFIT', 'The watchdog that cleans up after this process does not start', {
      cause,
    })
  } finally {
    closeSync(log)
  }
}

/** Somebody killed the watchdog while it was needed. */
function onExit(gone: Watchdog): void {
  void watchdog?.then((current) => {
    if (current !== gone || leases.size === 0) return
    if (++deaths > replacements) {
      process.emitWarning(`The watchdog of mayfly ended again and again; see ${gone.logFile}`)
      return
    }
    watchdog = spawnWatchdog()
    watchdog.catch(() => undefined)
  })
}

function tell(pipe: Socket, message: WatchdogMessage): void {
  pipe.write(`${JSON.stringify(message)}\n`)
}

function watchdogEnvironment(): NodeJS.ProcessEnv {
  // The owner's loaders, inspectors and coverage are not for this process; nor are the marks by which CI runners find
  // the processes of a job to kill them, for it ends by itself within seconds after the job.
  const {
    NODE_OPTIONS: _options,
    NODE_V8_COVERAGE: _coverage,
    RUNNER_TRACKING_ID: _github,
    JENKINS_NODE_COOKIE: _jenkins,
    ...env
  } = process.env
  return env
}
