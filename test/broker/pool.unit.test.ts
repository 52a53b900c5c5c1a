import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { Pool, type PoolMember, type PoolParts, serveLeases } from '../../src/broker/index.ts'
import { leaseCluster } from '../../src/broker/worker.ts'
import { MayflyError } from '../../src/errors.ts'

/** What happened to clusters, which here are names only. */
let log: string[]
let trouble: string[]
beforeEach(() => {
  log = []
  trouble = []
})

function named(name: string): PoolMember['cluster'] {
  return {
    name,
    kubeconfig: '',
    kubeconfigPath: '',
    internalKubeconfig: '',
    nodes: [],
    images: [],
    controlPlaneOnly: false,
    manifestNamespaces: [],
  }
}

/** A pool of clusters that are called c1, c2 and so on, and do what is asked at once. */
function poolOf(
  parts: Partial<Omit<PoolParts, 'maxClusters'>> & { maxClusters?: number } = {},
  does: Partial<PoolMember> = {},
): Pool {
  let made = 0
  const pool = new Pool({
    make: async () => {
      const name = `c${++made}`
      const did = (what: string) => async () => void log.push(`${what} ${name}`)
      log.push(`make ${name}`)
      return {
        cluster: named(name),
        check: async () => undefined,
        save: async () => undefined,
        rollBack: did('roll back'),
        refresh: did('refresh'),
        delete: did('delete'),
        ...does,
      }
    },
    maxMaking: 1,
    onTrouble: (sentence) => trouble.push(sentence),
    ...parts,
    maxClusters: () => parts.maxClusters ?? 2,
  })
  onTestFinished(() => pool.close())
  return pool
}

const asking = (file = 'a.test.ts') => ({ file, signal: new AbortController().signal })

/** Lets everything happen that happens at once. */
const settled = () => new Promise((resolve) => setImmediate(resolve))

describe('a cluster that comes back', () => {
  test('from `rollback` is rolled back, for the next', async () => {
    const pool = poolOf()
    const first = await pool.lease('rollback', asking())
    first.release()
    const second = await pool.lease('rollback', asking())
    expect(second.cluster.name).toBe('c1')
    expect(log).toEqual(['make c1', 'roll back c1'])
  })

  test('from `cluster` is deleted', async () => {
    const pool = poolOf()
    const first = await pool.lease('cluster', asking())
    first.release()
    expect((await pool.lease('cluster', asking())).cluster.name).toBe('c2')
    expect(log).toContain('delete c1')
  })

  test('and can not be rolled back is replaced, and the file that damaged it is named', async () => {
    const pool = poolOf({}, { rollBack: () => Promise.reject(new Error('etcd is gone')) })
    const first = await pool.lease('rollback', asking('harm.test.ts'))
    first.release()
    expect((await pool.lease('rollback', asking())).cluster.name).toBe('c2')
    expect(log).toEqual(['make c1', 'delete c1', 'make c2'])
    expect(trouble).toEqual([
      'Cluster c1 could not be rolled back after harm.test.ts and is replaced: etcd is gone',
    ])
  })

  test('comes back once, however often it is released', async () => {
    const pool = poolOf()
    const { release } = await pool.lease('rollback', asking())
    release()
    await settled()
    release()
    await settled()
    expect(log).toEqual(['make c1', 'roll back c1'])
  })
})

test('files wait in the order in which they asked', async () => {
  const pool = poolOf({ maxClusters: 1 })
  const order: string[] = []
  const run = async (file: string) => {
    const { release } = await pool.lease('rollback', asking(file))
    order.push(file)
    await settled()
    release()
  }
  await Promise.all(['a', 'b', 'c', 'd'].map(run))
  expect(order).toEqual(['a', 'b', 'c', 'd'])
  expect(log.filter((line) => line.startsWith('make'))).toEqual(['make c1'])
})

test('a file that is not interested any more does not hold up the others', async () => {
  const pool = poolOf({ maxClusters: 1 })
  const first = await pool.lease('rollback', asking())
  const leaving = new AbortController()
  const second = pool.lease('rollback', { file: 'b.test.ts', signal: leaving.signal })
  const third = pool.lease('rollback', asking())
  leaving.abort(new Error('its worker is gone'))
  await expect(second).rejects.toThrow('its worker is gone')
  first.release()
  expect((await third).cluster.name).toBe('c1')
})

test('a cluster that died while nobody had it is replaced, and the file gets another', async () => {
  const answers = ['well', 'dead', 'well']
  const check = async () => {
    if (answers.shift() === 'dead') throw new Error('no answer')
  }
  const pool = poolOf({}, { check })
  await pool.warm()
  expect((await pool.lease('rollback', asking())).cluster.name).toBe('c2')
  expect(trouble).toEqual(['Cluster c1 is of no use any more and is replaced: no answer'])
})

describe('a cluster that can not be made', () => {
  const broken = (failures: number) => {
    let attempts = 0
    return {
      attempts: () => attempts,
      make: async (): Promise<PoolMember> => {
        if (++attempts <= failures) throw new Error(`no memory ${attempts}`)
        return {
          cluster: named(`c${attempts}`),
          check: async () => undefined,
          save: async () => undefined,
          rollBack: async () => undefined,
          refresh: async () => undefined,
          delete: async () => undefined,
        }
      },
    }
  }

  test('fails the file that asked, with the reason, and the next gets its own attempt', async () => {
    const pool = poolOf(broken(1))
    const outcomes = await Promise.allSettled([
      pool.lease('rollback', asking()),
      pool.lease('rollback', asking()),
    ])
    expect(outcomes).toMatchObject([
      { status: 'rejected', reason: new Error('no memory 1') },
      { status: 'fulfilled', value: { cluster: { name: 'c2' } } },
    ])
  })

  test('is not tried for ever: after three failures the other files fail at once', async () => {
    const parts = broken(Number.POSITIVE_INFINITY)
    const pool = poolOf(parts)
    const leases = Array.from({ length: 50 }, () => pool.lease('cluster', asking()))
    const outcomes = await Promise.allSettled(leases)
    expect(outcomes.every(({ status }) => status === 'rejected')).toBe(true)
    expect(parts.attempts()).toBe(3)
  })

  test('nor is one that is of no use as soon as it is made', async () => {
    const pool = poolOf({}, { check: () => Promise.reject(new Error('no answer')) })
    await expect(pool.lease('rollback', asking())).rejects.toThrow('no answer')
    expect(log.filter((line) => line.startsWith('make'))).toHaveLength(3)
  })

  test('leaves files to wait for one that there is', async () => {
    let made = 0
    const whole = { rollBack: async () => undefined, delete: async () => undefined }
    const pool = poolOf({
      make: async () => {
        if (++made > 1) throw new Error('no memory')
        return {
          cluster: named('c1'),
          check: whole.delete,
          save: whole.delete,
          refresh: whole.delete,
          ...whole,
        }
      },
    })
    const { release } = await pool.lease('rollback', asking())
    const failed = Array.from({ length: 3 }, () => pool.lease('cluster', asking()))
    await Promise.allSettled(failed)
    const waiting = pool.lease('rollback', asking())
    release()
    expect((await waiting).cluster.name).toBe('c1')
    expect(made).toBe(4)
  })

  test('ahead concerns no file, and is told', async () => {
    const pool = poolOf(broken(1))
    pool.expect({ rollback: 1 })
    await settled()
    expect(trouble).toEqual(['A cluster could not be made ahead: no memory 1'])
    expect((await pool.lease('rollback', asking())).cluster.name).toBe('c2')
  })
})

describe('clusters ahead', () => {
  test('are there when their files ask', async () => {
    const pool = poolOf()
    pool.expect({ cluster: 2 })
    await settled()
    expect(log).toEqual(['make c1'])
    await pool.lease('cluster', asking())
    await settled()
    expect(log).toEqual(['make c1', 'make c2'])
  })

  test('are not made for files that do not come', async () => {
    const pool = poolOf({ maxClusters: 9 })
    pool.expect({ cluster: 1 })
    const { release } = await pool.lease('cluster', asking())
    release()
    await settled()
    expect(log).toEqual(['make c1', 'delete c1'])
  })

  test('are warm for the first file, whatever it asks for', async () => {
    const pool = poolOf()
    expect((await pool.warm()).name).toBe('c1')
    expect((await pool.lease('cluster', asking())).cluster.name).toBe('c1')
  })
})

test('what changed in the files of the project is brought to all clusters: at once, or when they come back', async () => {
  const pool = poolOf()
  const [held, idle] = await Promise.all([pool.lease('rollback', asking()), pool.lease('rollback', asking())])
  idle.release()
  await settled()
  log = []
  await pool.refresh()
  expect(log).toEqual(['refresh c2'])
  held.release()
  await settled()
  expect(log).toEqual(['refresh c2', 'roll back c1', 'refresh c1'])
})

test('the end of the pool deletes every cluster, those too that files have, and refuses who waits', async () => {
  const pool = poolOf({ maxClusters: 1 })
  await pool.lease('rollback', asking())
  const waiting = pool.lease('rollback', asking())
  const refused = expect(waiting).rejects.toMatchObject({ code: 'WAIT_ABORTED' })
  await pool.close()
  await refused
  expect(log).toEqual(['make c1', 'delete c1'])
  await expect(pool.lease('rollback', asking())).rejects.toMatchObject({ code: 'WAIT_ABORTED' })
})

describe('over the socket', () => {
  async function served(pool: Pool): Promise<string> {
    const folder = mkdtempSync(join(tmpdir(), 'mayfly-broker-test-'))
    const address = join(folder, 'socket')
    const stop = await serveLeases(address, ({ isolation, file }, signal) =>
      pool.lease(isolation as 'rollback', { file, signal }),
    )
    onTestFinished(async () => {
      await stop()
      rmSync(folder, { recursive: true })
    })
    return address
  }

  const request = { isolation: 'rollback' as const, file: 'a.test.ts' }

  test('a worker gets a cluster and gives it back', async () => {
    const address = await served(poolOf())
    const { cluster, release } = await leaseCluster(address, request)
    expect(cluster).toEqual(named('c1'))
    await release()
    await settled()
    expect(log).toEqual(['make c1', 'roll back c1'])
  })

  test('a worker that is killed gives its cluster back, and one that waits its place', async () => {
    const pool = poolOf({ maxClusters: 1 })
    const address = await served(pool)
    const holder = start(address)
    await once(holder.stdout as NodeJS.EventEmitter, 'data')
    const waiter = start(address)
    const last = leaseCluster(address, request)
    waiter.kill('SIGKILL')
    holder.kill('SIGKILL')
    expect((await last).cluster.name).toBe('c1')
    expect(log).toEqual(['make c1', 'roll back c1'])
  })

  function start(address: string): ChildProcess {
    const child = spawn(process.execPath, [join(import.meta.dirname, 'worker.ts'), address, 'rollback'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    onTestFinished(() => void child.kill('SIGKILL'))
    return child
  }

  test('the reason why there is none arrives as it was thrown', async () => {
    const reason = new MayflyError('HOST_UNFIT', 'The host is full', { hint: 'Make room' })
    const address = await served(poolOf({ make: () => Promise.reject(reason) }))
    await expect(leaseCluster(address, request)).rejects.toMatchObject({
      code: 'HOST_UNFIT',
      message: 'The host is full\n→ Make room',
    })
  })

  test('a broker that is gone is told', async () => {
    await expect(leaseCluster('/nowhere/socket', request)).rejects.toThrow(
      'a.test.ts waited for a cluster, and the process that hands them out is gone: connect ENOENT',
    )
  })
})
