import { describe, expect, test } from 'vitest'
import { consistentlyWithin, eventuallyWithin } from '../../src/session/eventually.ts'
import { limitsWithin } from '../../src/session/limits.ts'
import { namespaceNameFor } from '../../src/session/namespace.ts'
import { planSession } from '../../src/session/options.ts'

const endless = { remainingMs: () => Number.POSITIVE_INFINITY }

describe('a plan', () => {
  test('is the same for projects that ask for the same, in whatever order and from wherever', () => {
    const one = planSession({ nodes: ['control-plane'], images: ['app:dev'], manifests: '/etc/app' }, '/one')
    const other = planSession(
      { manifests: ['/etc/app'], images: ['app:dev'], nodes: ['control-plane'] },
      '/two',
    )
    expect(one.key).toBe(other.key)
  })

  test('differs with anything that is in the cluster', () => {
    const keys = [
      planSession({}, '/one'),
      planSession({ nodes: ['control-plane', 'worker'] }, '/one'),
      planSession({ images: ['app:dev'] }, '/one'),
      planSession({ manifests: ['app.yaml'] }, '/one'),
      planSession({ manifests: ['app.yaml'] }, '/two'),
      planSession({ manifests: () => 'app.yaml' }, '/one'),
      planSession({ manifests: () => 'app.yaml' }, '/one'),
    ].map(({ key }) => key)
    expect(new Set(keys).size).toBe(keys.length)
  })

  test('is the same whatever files have to themselves: they can share clusters', () => {
    const keys = [undefined, 'run', 'rollback', 'cluster'] as const
    const plans = keys.map((isolation) => planSession(isolation ? { isolation } : {}, '/one'))
    expect(new Set(plans.map(({ key }) => key)).size).toBe(1)
    expect(plans.map(({ isolation }) => isolation)).toEqual(['namespace', 'run', 'rollback', 'cluster'])
  })

  test('is refused with an isolation or a bound that is none', () => {
    expect(() => planSession({ isolation: 'rolback' as 'rollback' }, '/one')).toThrow(
      'Option `isolation` is "rolback"\n→ Choose one of run, namespace, rollback, cluster',
    )
    expect(() => planSession({ maxClusters: 0 }, '/one')).toThrow('Option `maxClusters` is 0')
  })

  test('has paths from the root of the project, and leaves names of images and inline YAML alone', () => {
    const plan = planSession(
      {
        config: 'kind.yaml',
        images: ['app:dev', 'app.tar', { build: 'app', tag: 'app:dev' }],
        manifests: ['config', 'kind: ConfigMap\n'],
      },
      '/project',
    )
    expect(plan).toMatchObject({
      cluster: { config: '/project/kind.yaml' },
      images: ['app:dev', '/project/app.tar', { build: '/project/app', tag: 'app:dev' }],
      manifests: ['/project/config', 'kind: ConfigMap\n'],
      diagnosticsDir: '/project/.mayfly',
    })
  })
})

describe('the limits of a wait', () => {
  test('end before the test does, so that the reason is told', () => {
    expect(limitsWithin({ remainingMs: () => 4000 }).timeoutMs).toBe(3500)
    expect(limitsWithin(endless).timeoutMs).toBe(60_000)
    expect(limitsWithin({ remainingMs: () => 4000 }, { timeoutMs: 9000 }).timeoutMs).toBe(9000)
  })

  test('end with the test, and with the caller', () => {
    const [test, caller] = [new AbortController(), new AbortController()]
    const { signal } = limitsWithin({ ...endless, signal: test.signal }, { signal: caller.signal })
    expect(signal?.aborted).toBe(false)
    caller.abort()
    expect(signal?.aborted).toBe(true)
  })
})

describe('the name of a test namespace', () => {
  test('is a valid one that tells the test, and another each time', () => {
    const names = ['Web > answers, in time: 100 %!', '42', '', 'x'.repeat(300)].map(namespaceNameFor)
    for (const name of names) expect(name).toMatch(/^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$/)
    expect(names[0]).toMatch(/^web-answers-in-time-100-[a-z0-9]{5}$/)
    expect(namespaceNameFor('a')).not.toBe(namespaceNameFor('a'))
  })
})

describe('eventually', () => {
  test('returns what the first attempt that succeeds returns', async () => {
    let attempts = 0
    const attempt = () => {
      if (++attempts < 3) throw new Error('not yet')
      return attempts
    }
    expect(await eventuallyWithin(endless)(attempt, { intervalMs: 1 })).toBe(3)
  })

  test('fails with the last failure and how often it was tried', async () => {
    const attempt = () => expect(1).toBe(2)
    await expect(eventuallyWithin(endless)(attempt, { timeoutMs: 50, intervalMs: 10 })).rejects.toThrow(
      /^Not so after 0\.\d s and \d+ attempts?: expected 1 to be 2/,
    )
  })

  test('is not held by an attempt that hangs', async () => {
    const hangs = () => new Promise(() => {})
    await expect(eventuallyWithin(endless)(hangs, { timeoutMs: 50 })).rejects.toThrow('Not so after 0.')
  })

  test('stops with the test', async () => {
    const test = new AbortController()
    const waiting = eventuallyWithin({ ...endless, signal: test.signal })(() => {
      throw new Error('no')
    })
    test.abort()
    await expect(waiting).rejects.toThrow('no')
  })
})

describe('consistently', () => {
  test('holds when nothing is thrown for the whole time', async () => {
    let looks = 0
    await consistentlyWithin(endless)(() => ++looks, { durationMs: 60, intervalMs: 10 })
    expect(looks).toBeGreaterThan(1)
  })

  test('fails at once when it no longer holds, and says how long it did', async () => {
    let looks = 0
    const look = () => expect(++looks).toBeLessThan(3)
    await expect(consistentlyWithin(endless)(look, { durationMs: 10_000, intervalMs: 1 })).rejects.toThrow(
      /^It held for 0\.\d of 10 s only: expected 3 to be less than 3/,
    )
  })
})
