import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { describe, expect, test } from 'vitest'
import { defaultTtlMs, label, ownership } from '../../src/reaper/index.ts'
import { lostItsCreator, whyOrphaned } from '../../src/reaper/ownership.ts'
import {
  formatIdentity,
  isRunning,
  livenessOf,
  type ProcessIdentity,
  parseIdentity,
  startTimeFromStat,
  thisProcess,
} from '../../src/reaper/process-identity.ts'

describe('the identity of a process', () => {
  test('survives its way through a label', () => {
    const identity = thisProcess()
    expect(identity.pid).toBe(process.pid)
    expect(parseIdentity(formatIdentity(identity))).toEqual(identity)
    for (const text of ['', 'none', 'a/b/c/d/e', 'a/b/c/1', 'a/b/c/1/2/3'])
      expect(parseIdentity(text)).toBeUndefined()
  })

  test('the start time is found behind any command name; a zombie is dead', () => {
    const stat = (name: string, state: string) =>
      `42 (${name}) ${state} 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 10 20`
    expect(startTimeFromStat(stat('node', 'S'))).toBe('987654')
    expect(startTimeFromStat(stat('a) R 1 (b', 'R'))).toBe('987654')
    expect(startTimeFromStat(stat('node', 'Z'))).toBe('dead')
  })

  test('a process that ended is dead, and so is one whose id now belongs to another', async () => {
    const here = thisProcess()
    expect(livenessOf(here)).toBe('alive')
    // The same id with another start time is what a reused id looks like.
    expect(livenessOf({ ...here, started: '1' })).toBe('dead')
    const child = spawn('sleep', ['1000'])
    await once(child, 'spawn')
    expect(isRunning(child.pid as number, '-')).toBe(true)
    child.kill('SIGKILL')
    await once(child, 'exit')
    expect(isRunning(child.pid as number, '-')).toBe(false)
  })

  test('a process of another host, boot or container can’t be judged by its id', () => {
    const here = thisProcess()
    const dead = { ...here, started: '1' }
    expect(livenessOf({ ...dead, host: 'elsewhere' })).toBe('unknown')
    expect(livenessOf({ ...dead, namespace: '1' })).toBe('unknown')
    expect(livenessOf({ ...here, boot: 'before' })).toBe('earlier boot')
  })
})

describe('the labels of a cluster', () => {
  test('name its owner, its run and its expiry', () => {
    const before = Date.now()
    const labels = ownership('a', { run: 'run-1' })
    expect(labels).toEqual({
      'io.mayfly.cluster': 'a',
      'io.mayfly.owner': formatIdentity(thisProcess()),
      'io.mayfly.instance': expect.any(String),
      'io.mayfly.run': 'run-1',
      'io.mayfly.expires': expect.any(String),
    })
    expect(Date.parse(labels[label.expires] as string)).toBeGreaterThanOrEqual(before + defaultTtlMs)
    expect(ownership('b')[label.run]).toBe(ownership('c')[label.run])
  })

  test('of a kept one name no owner, and no expiry unless asked', () => {
    expect(ownership('a', { keep: true })).toMatchObject({
      'io.mayfly.owner': 'none',
      'io.mayfly.expires': 'never',
      'io.mayfly.keep': 'true',
    })
    expect(ownership('a', { keep: true })[label.creator]).toBe(formatIdentity(thisProcess()))
    expect(ownership('a', { keep: true, retain: true })).not.toHaveProperty(label.creator)
    expect(Date.parse(ownership('a', { keep: true, ttlMs: 1000 })[label.expires] as string)).toBeGreaterThan(
      Date.now(),
    )
  })
})

describe('what may be swept', () => {
  const now = Date.parse('2030-01-01T12:00:00Z')
  const past = '2030-01-01T11:00:00.000Z'
  const future = '2030-01-01T13:00:00.000Z'
  const owner: ProcessIdentity = { host: 'h', boot: 'b', namespace: 'n', pid: 7, started: '1' }
  const labels = (expires: string, more = {}) => ({
    [label.cluster]: 'a',
    [label.owner]: formatIdentity(owner),
    [label.expires]: expires,
    ...more,
  })
  const why = (
    of: Record<string, string>,
    liveness: ReturnType<typeof livenessOf>,
    { engineIsLocal = true }: { engineIsLocal?: boolean } = {},
  ) => whyOrphaned(of, { now, engineIsLocal, liveness: () => liveness })

  test.each([
    ['alive', future, undefined],
    ['alive', past, undefined],
    ['dead', future, 'its owner, process 7, is gone'],
    ['earlier boot', future, 'it is from before the last boot'],
    ['unknown', future, undefined],
    ['unknown', past, `it expired at ${past}`],
    ['unknown', 'never', undefined],
  ] as const)('owner %s, expires %s: %s', (liveness, expires, reason) => {
    expect(why(labels(expires), liveness)).toBe(reason)
  })

  test('on a remote engine an owner of that host name and another boot may be another machine', () => {
    expect(why(labels(future), 'earlier boot', { engineIsLocal: false })).toBeUndefined()
    expect(why(labels(past), 'earlier boot', { engineIsLocal: false })).toBe(`it expired at ${past}`)
  })

  test('kept ones go by their expiry only', () => {
    const kept = { [label.owner]: 'none', [label.keep]: 'true' }
    expect(why(labels('never', kept), 'dead')).toBeUndefined()
    expect(why(labels(future, kept), 'dead')).toBeUndefined()
    expect(why(labels(past, kept), 'dead')).toBe(`it expired at ${past}`)
    expect(why(labels(future, { [label.keep]: 'true' }), 'dead')).toBeUndefined()
  })

  test('kept ones go as well when they are unfinished, which only those without their creator may be', () => {
    const kept = { [label.owner]: 'none', [label.keep]: 'true', [label.instance]: 'i' }
    const view = { now, engineIsLocal: true, unfinished: new Set(['i']) }
    const made = labels('never', { ...kept, [label.creator]: formatIdentity(owner) })
    expect(whyOrphaned(made, view)).toBe('process 7 never finished it')
    expect(whyOrphaned({ ...made, [label.instance]: 'j' }, view)).toBeUndefined()
    const isLost = (liveness: ReturnType<typeof livenessOf>, of = made, engineIsLocal = true) =>
      lostItsCreator(of, { engineIsLocal, liveness: () => liveness })
    expect((['alive', 'dead', 'earlier boot', 'unknown'] as const).map((seen) => isLost(seen))).toEqual([
      false,
      true,
      true,
      false,
    ])
    expect(isLost('earlier boot', made, false)).toBe(false)
    expect(isLost('dead', labels('never', kept))).toBe(false)
  })

  test('what has no labels of ours is never touched', () => {
    expect(why({}, 'dead')).toBeUndefined()
    expect(why({ [label.cluster]: 'a' }, 'dead')).toBeUndefined()
  })
})
