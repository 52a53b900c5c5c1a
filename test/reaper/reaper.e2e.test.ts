import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import {
  connectEngine,
  createContainer,
  createNetwork,
  createVolume,
  type Engine,
  listContainers,
  startContainer,
} from '../../src/engine/index.ts'
import {
  deleteCluster,
  label,
  listBelongings,
  ownership,
  startWatchdog,
  sweep,
} from '../../src/reaper/index.ts'
import { formatIdentity, thisProcess } from '../../src/reaper/process-identity.ts'
import { isEmpty } from '../../src/reaper/removal.ts'
import { until } from '../../src/wait.ts'
import { ensureTinyImage, tinyImage } from '../engine/tiny-image.ts'

/** The project's promise: within this time after a death, nothing is left. */
const promisedMs = 15_000

let engine: Engine
let cluster: string
/** The temporary folder of owners and watchdogs, so that what they leave there is seen. */
let temporary: string
let children: ChildProcess[]
let clusters: string[]

beforeAll(async () => {
  engine = await connectEngine()
  await ensureTinyImage(engine)
})
beforeEach(async () => {
  children = []
  clusters = []
  cluster = newCluster()
  temporary = await mkdtemp(join(tmpdir(), 'reaper-'))
})
afterEach(async () => {
  for (const child of children) child.kill('SIGKILL')
  for (const name of clusters) await deleteCluster(engine, name)
  await rm(temporary, { recursive: true, maxRetries: 5 })
})

function newCluster(): string {
  const name = `mayfly-test-${randomUUID().slice(0, 8)}`
  clusters.push(name)
  return name
}

interface Owner {
  child: ChildProcess
  /** Its identity, as in the label. */
  identity: string
  folder: string
  nextLine(): Promise<Record<string, unknown>>
}

async function startOwner(name: string, mode = 'hold', env: NodeJS.ProcessEnv = {}): Promise<Owner> {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'owner.ts'), name, mode], {
    env: { ...process.env, TMPDIR: temporary, ...env },
    stdio: ['pipe', 'pipe', 'inherit'],
    // A process group of its own, for Ctrl-C.
    detached: true,
  })
  children.push(child)
  const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]()
  const nextLine = async () => JSON.parse((await lines.next()).value as string) as Record<string, unknown>
  const { owner, folder } = await nextLine()
  return { child, identity: owner as string, folder: folder as string, nextLine }
}

async function die(owner: Owner, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
  const exited = once(owner.child, 'exit')
  owner.child.kill(signal)
  await exited
}

const leftOf = (name: string) => listBelongings(engine, { [label.cluster]: name })
const everything = (name: string) =>
  leftOf(name).then(({ containers, networks, volumes }) => [
    containers.length,
    networks.length,
    volumes.length,
  ])

/** The watchdogs of one owner, found among all processes by their arguments. */
async function watchdogsOf(identity: string): Promise<number[]> {
  const found = await Promise.all(
    (await readdir('/proc'))
      .filter((name) => /^\d+$/.test(name))
      .map(async (pid) => {
        const argv = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0')
        return argv.some((arg) => arg.includes('watchdog-main')) && argv.includes(identity)
          ? [Number(pid)]
          : []
      }),
  )
  return found.flat()
}

async function nothingLeftOf(name: string, owner: Owner): Promise<void> {
  await until(
    `nothing to be left of ${name}`,
    async (_, report) => {
      const [left, watchdogs, files] = [
        await leftOf(name),
        await watchdogsOf(owner.identity),
        await readdir(temporary),
      ]
      report(JSON.stringify({ left, watchdogs, files }))
      return (isEmpty(left) && watchdogs.length === 0 && files.length === 0) || undefined
    },
    { timeoutMs: promisedMs, intervalMs: 200 },
  )
}

describe.skipIf(process.platform !== 'linux')('the watchdog', () => {
  test('removes all that a killed process owned, then its log and itself', async () => {
    const owner = await startOwner(cluster)
    expect(await everything(cluster)).toEqual([2, 1, 3])
    expect(await watchdogsOf(owner.identity)).toHaveLength(1)
    expect(existsSync(owner.folder)).toBe(true)
    await die(owner)
    await nothingLeftOf(cluster, owner)
  })

  test('also what was being made at that moment', async () => {
    const owner = await startOwner(cluster, 'creating')
    await until('some containers', async () => (await leftOf(cluster)).containers.length > 5 || undefined, {
      timeoutMs: 20_000,
    })
    await die(owner)
    await nothingLeftOf(cluster, owner)
    // A request that the engine finished late would show now.
    expect(await everything(cluster)).toEqual([0, 0, 0])
  })

  test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)(
    'outlives a %s to the whole process group',
    async (signal) => {
      const owner = await startOwner(cluster)
      const [watchdog] = await watchdogsOf(owner.identity)
      process.kill(watchdog as number, signal)
      const exited = once(owner.child, 'exit')
      process.kill(-(owner.child.pid as number), signal)
      await exited
      await nothingLeftOf(cluster, owner)
    },
  )

  test('of one owner leaves another owner’s things alone', async () => {
    const [first, second] = [await startOwner(cluster), await startOwner(newCluster())]
    const other = clusters[1] as string
    await die(first)
    await until('the first to be gone', async () => isEmpty(await leftOf(cluster)) || undefined, {
      timeoutMs: promisedMs,
    })
    expect(await everything(other)).toEqual([2, 1, 3])
    expect(existsSync(second.folder)).toBe(true)
    await die(second)
    await nothingLeftOf(other, second)
  })

  test('goes when its owner has released everything, and removes nothing', async () => {
    const owner = await startOwner(cluster)
    owner.child.stdin?.write('release\n')
    expect(await owner.nextLine()).toMatchObject({ released: true })
    await until('it to go', async () => (await watchdogsOf(owner.identity)).length === 0 || undefined, {
      timeoutMs: promisedMs,
    })
    expect(await everything(cluster)).toEqual([2, 1, 3])
    expect((await readdir(temporary)).filter((name) => name.endsWith('.log'))).toEqual([])
  })

  test('does not take a worker thread’s end for its process’s', async () => {
    const owner = await startOwner(cluster, 'thread')
    expect(await everything(cluster)).toEqual([2, 1, 3])
    // Its pipe broke with the thread. Give it the time in which it would have begun.
    await until('a mistake', async () => (await everything(cluster)).includes(0) || undefined, {
      timeoutMs: 3_000,
    }).catch(() => undefined)
    expect(await everything(cluster)).toEqual([2, 1, 3])
    await die(owner)
    await nothingLeftOf(cluster, owner)
  })

  test('is replaced when it is killed itself', async () => {
    const owner = await startOwner(cluster)
    const [first] = await watchdogsOf(owner.identity)
    process.kill(first as number, 'SIGKILL')
    await until(
      'another one',
      async () => {
        const [next] = await watchdogsOf(owner.identity)
        return (next !== undefined && next !== first) || undefined
      },
      { timeoutMs: promisedMs },
    )
    await die(owner)
    await until('nothing to be left', async () => isEmpty(await leftOf(cluster)) || undefined, {
      timeoutMs: promisedMs,
    })
  })

  test('is one for all clusters of a process, also inside a test runner', async () => {
    const identity = formatIdentity(thisProcess())
    const first = await startWatchdog(engine)
    const second = await startWatchdog(engine)
    expect(await watchdogsOf(identity)).toHaveLength(1)
    await first.release()
    await first.release()
    expect(await watchdogsOf(identity)).toHaveLength(1)
    await second.release()
    await until('it to go', async () => (await watchdogsOf(identity)).length === 0 || undefined, {
      timeoutMs: promisedMs,
    })
  })

  test('waits for an engine that is away', async () => {
    const socket = join(temporary, 'engine.sock')
    let road = await openRoad(socket, engine)
    const owner = await startOwner(cluster, 'hold', { DOCKER_HOST: `unix://${socket}` })
    await road.close()
    await die(owner)
    await until('a while', async () => undefined, { timeoutMs: 2_000 }).catch(() => undefined)
    expect(await everything(cluster)).toEqual([2, 1, 3])
    road = await openRoad(socket, engine)
    await until('nothing to be left', async () => isEmpty(await leftOf(cluster)) || undefined, {
      timeoutMs: promisedMs,
    })
    await until('it to go', async () => (await watchdogsOf(owner.identity)).length === 0 || undefined, {
      timeoutMs: promisedMs,
    })
    await road.close()
  })
})

describe('the sweep', () => {
  const make = async (name: string, labels: Record<string, string>) => {
    const network = await createNetwork(engine, { name, labels })
    await createVolume(engine, { name, labels })
    await createContainer(engine, { name, image: tinyImage, labels, network: network.name })
    await startContainer(engine, name)
  }
  const reasonFor = async (name: string) => (await sweep(engine)).find((one) => one.cluster === name)?.reason

  test.skipIf(process.platform !== 'linux')('removes what process and watchdog both left', async () => {
    const owner = await startOwner(cluster)
    // Stopped, the owner can't start another watchdog.
    owner.child.kill('SIGSTOP')
    for (const pid of await watchdogsOf(owner.identity)) process.kill(pid, 'SIGKILL')
    expect(await reasonFor(cluster)).toBeUndefined()
    await die(owner)
    expect(await reasonFor(cluster)).toBe(`its owner, process ${owner.child.pid}, is gone`)
    expect(await everything(cluster)).toEqual([0, 0, 0])
  })

  test('leaves this process’s own things', async () => {
    await make(cluster, ownership(cluster, { ttlMs: -1000 }))
    expect(await reasonFor(cluster)).toBeUndefined()
    expect(await everything(cluster)).toEqual([1, 1, 1])
  })

  test('removes kept things once they expire', async () => {
    const [expired, kept] = [cluster, newCluster()]
    await make(expired, ownership(expired, { keep: true, ttlMs: -1000 }))
    await make(kept, ownership(kept, { keep: true }))
    expect(await reasonFor(expired)).toMatch(/^it expired at /)
    expect(await everything(expired)).toEqual([0, 0, 0])
    expect(await everything(kept)).toEqual([1, 1, 1])
  })

  test('removes kept things that were never finished once their creator is gone', async () => {
    const finished = newCluster()
    const gone = formatIdentity({ ...thisProcess(), started: '1' })
    const lost = (name: string) => ({
      ...ownership(name, { keep: true }),
      [label.creator]: gone,
      [label.role]: 'control-plane',
    })
    await make(cluster, lost(cluster))
    await make(finished, lost(finished))
    const wasFinished = async (controlPlanes: readonly string[]) =>
      controlPlanes.some((container) => container.startsWith(finished))
    const swept = await sweep(engine, { wasFinished })
    expect(swept).toContainEqual({ cluster, reason: `process ${process.pid} never finished it` })
    expect(await everything(cluster)).toEqual([0, 0, 0])
    expect(await everything(finished)).toEqual([1, 1, 1])
  })

  test('may run several times at once', async () => {
    await make(cluster, ownership(cluster, { keep: true, ttlMs: -1000 }))
    await Promise.all([sweep(engine), sweep(engine), sweep(engine)])
    expect(await everything(cluster)).toEqual([0, 0, 0])
  })
})

describe('deleting a cluster', () => {
  test('removes everything with its name, with anonymous volumes, and nothing else', async () => {
    const other = newCluster()
    for (const name of clusters) {
      await createNetwork(engine, { name, labels: ownership(name) })
      await Promise.all(
        [1, 2, 3].map(async (n) => {
          const container = `${name}-${n}`
          await createContainer(engine, {
            ...{ name: container, image: tinyImage, network: name, volumes: ['/data'] },
            labels: ownership(name),
          })
          await startContainer(engine, container)
        }),
      )
    }
    const found = await Promise.all([deleteCluster(engine, cluster), deleteCluster(engine, cluster)])
    expect(found[0].containers).toHaveLength(3)
    expect(await everything(cluster)).toEqual([0, 0, 0])
    expect(await everything(other)).toEqual([3, 1, 3])
    expect(await deleteCluster(engine, cluster)).toEqual({ containers: [], networks: [], volumes: [] })
    expect((await listContainers(engine, { [label.cluster]: other })).map(({ state }) => state)).toEqual(
      Array(3).fill('running'),
    )
  })
})

/** A socket that leads to the real engine, and that a test can close and open. */
async function openRoad(path: string, { place }: Engine): Promise<{ close(): Promise<void> }> {
  await rm(path, { force: true })
  const sockets = new Set<Socket>()
  const server: Server = createServer((near) => {
    const far = connect(place.address.replace('unix://', ''))
    for (const socket of [near, far]) {
      sockets.add(socket)
      socket.on('error', () => undefined)
    }
    near.pipe(far).pipe(near)
  })
  server.listen(path)
  await once(server, 'listening')
  return {
    async close() {
      server.close()
      for (const socket of sockets) socket.destroy()
      await rm(path, { force: true })
    },
  }
}
