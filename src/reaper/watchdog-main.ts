/**
 * The watchdog process: waits until its owner is gone and deletes what the owner left. Started by `watchdog.ts` with
 * the owner's identity and the name of its log file; reads `WatchdogMessage`s from its standard input.
 */
import { rm } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import type { EnginePlace } from '../engine/index.ts'
import { until } from '../wait.ts'
import { isRunning, parseIdentity } from './process-identity.ts'
import type { WatchdogMessage } from './watchdog.ts'

/** An engine that is being restarted comes back within this time. */
const engineLimitMs = 120_000
/** The owner is busy booting a cluster while this process starts, so what cleans up is loaded after this time. */
const loadAfterMs = 10_000
/** A request that was under way when the owner died may still make something within this time. */
const quietMs = 2_000

const [, , ownerLabel = '', logFile = ''] = process.argv
const owner = parseIdentity(ownerLabel)
const engines = new Map<string, EnginePlace>()
const instances = new Set<string>()

let loaded: ReturnType<typeof loadTools> | undefined
// Not only when it is needed: the owner's package may have been removed from disk by then, with its project or by `npm ci`.
setTimeout(() => tools().catch(() => undefined), loadAfterMs).unref()

// What asks the owner to end must not take the watchdog first: it ends with its owner in any case.
for (const ignored of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(ignored, () => undefined)

try {
  if (!owner) throw new Error(`"${ownerLabel}" names no process`)
  const released = await listenToOwner()
  if (!released) {
    await until(
      `process ${owner.pid} to end`,
      async () => (isRunning(owner.pid, owner.started) ? undefined : true),
      {
        // The pipe breaks a moment before the process is gone, or long before: when a worker thread held it.
        timeoutMs: 2 ** 31 - 1,
        intervalMs: 200,
      },
    )
    log(`process ${owner.pid} is gone`)
    await cleanUp()
  }
  await rm(logFile, { force: true })
} catch (thrown) {
  log(thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown))
  process.exitCode = 1
}
// Idle connections to the engine must not hold the process.
process.exit()

/** Whether the owner took leave; false when the pipe broke. */
async function listenToOwner(): Promise<boolean> {
  let released = false
  // However the pipe breaks, it only means that the owner is gone.
  process.stdin.on('error', () => undefined)
  try {
    for await (const line of createInterface({ input: process.stdin })) {
      const message = JSON.parse(line) as WatchdogMessage
      if ('engine' in message) engines.set(message.engine.address, message.engine)
      else if ('making' in message) instances.add(message.making)
      else if ('made' in message) instances.delete(message.made)
      else released = true
    }
  } catch (thrown) {
    // Half a line is what an owner leaves that was killed while it wrote.
    log(`the owner's last words were unreadable: ${thrown}`)
  }
  return released
}

function tools(): ReturnType<typeof loadTools> {
  loaded ??= loadTools()
  return loaded
}

async function loadTools() {
  const [{ removeFoldersOf }, { connectTo }, { isEmpty, listAllBelongings, removeBelongings }, { label }] =
    await Promise.all([
      import('./folders.ts'),
      import('../engine/index.ts'),
      import('./removal.ts'),
      import('./ownership.ts'),
    ])
  return { removeFoldersOf, connectTo, isEmpty, listAllBelongings, removeBelongings, label }
}

async function cleanUp(): Promise<void> {
  const { removeFoldersOf, connectTo, isEmpty, listAllBelongings, removeBelongings, label } = await tools()
  const owned = [
    { [label.owner]: ownerLabel },
    ...[...instances].map((instance) => ({ [label.instance]: instance })),
  ]
  const outcomes = await Promise.allSettled([
    removeFoldersOf(ownerLabel),
    ...[...engines.values()].map((place) => {
      let quietSince = Date.now()
      return until(
        `the leftovers of process ${owner?.pid} at ${place.address} to be gone`,
        async (signal, report) => {
          const engine = await connectTo(place, { signal })
          const left = await listAllBelongings(engine, owned, { signal })
          if (isEmpty(left)) return Date.now() - quietSince >= quietMs ? true : undefined
          const names = [...left.containers, ...left.networks, ...left.volumes]
            .map(({ name }) => name)
            .join(', ')
          report(names)
          log(`removing ${names}`)
          quietSince = Date.now()
          await removeBelongings(engine, left, { signal })
          return undefined
        },
        { timeoutMs: engineLimitMs, intervalMs: 300 },
      )
    }),
  ])
  const failure = outcomes.find((outcome) => outcome.status === 'rejected')
  if (failure) throw failure.reason
}

function log(line: string): void {
  process.stderr.write(`${new Date().toISOString()} ${line}\n`)
}
