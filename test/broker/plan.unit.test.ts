import { describe, expect, test } from 'vitest'
import { membersAhead, type PlannedMember, type PoolState, planSteps } from '../../src/broker/plan.ts'

/** A pool with room for four clusters of which one is made at a time. Ids of requests are below 10, of members above. */
function pool(state: Partial<PoolState>): PoolState {
  return { requests: [], members: [], maxClusters: 4, maxMaking: 1, ahead: 0, ...state }
}

const rollback = (id: number) => ({ id, isolation: 'rollback' as const })
const cluster = (id: number) => ({ id, isolation: 'cluster' as const })
const member = (id: number, state: PlannedMember['state'], used = false) => ({ id, state, used })

describe('what is ready', () => {
  test('goes to those who ask, the oldest first', () => {
    const { grants, make } = planSteps(
      pool({ requests: [rollback(1), rollback(2)], members: [member(11, 'ready'), member(12, 'ready')] }),
    )
    expect(grants).toEqual([
      { request: 1, member: 11 },
      { request: 2, member: 12 },
    ])
    expect(make).toBe(0)
  })

  test('and was rolled back is kept for `rollback`, which leaves the new ones to `cluster`', () => {
    const members = [member(11, 'ready', false), member(12, 'ready', true)]
    expect(planSteps(pool({ requests: [rollback(1), cluster(2)], members })).grants).toEqual([
      { request: 1, member: 12 },
      { request: 2, member: 11 },
    ])
  })

  test('and was rolled back is nothing for `cluster`', () => {
    const { grants, make } = planSteps(pool({ requests: [cluster(1)], members: [member(11, 'ready', true)] }))
    expect(grants).toEqual([])
    expect(make).toBe(1)
  })
})

describe('what is made', () => {
  test('is one for each that asks, as many at a time as the machine carries', () => {
    const requests = [rollback(1), rollback(2), cluster(3)]
    expect(planSteps(pool({ requests })).make).toBe(1)
    expect(planSteps(pool({ requests, maxMaking: 2 })).make).toBe(2)
    expect(planSteps(pool({ requests, maxMaking: 9 })).make).toBe(3)
    expect(planSteps(pool({ requests, members: [member(11, 'making')] })).make).toBe(0)
  })

  test('is not more than the bound', () => {
    const members = [member(11, 'leased'), member(12, 'leaving'), member(13, 'rolling back')]
    const requests = [cluster(1), cluster(2), cluster(3)]
    expect(planSteps(pool({ requests, members, maxMaking: 9 })).make).toBe(1)
    expect(planSteps(pool({ requests, members, maxMaking: 9, maxClusters: 3 })).make).toBe(0)
  })

  test('is nothing for those who count on what comes', () => {
    const members = [member(11, 'making'), member(12, 'rolling back')]
    const { make, claims } = planSteps(pool({ requests: [rollback(1), cluster(2)], members, maxMaking: 9 }))
    expect(make).toBe(0)
    expect(claims).toEqual(
      new Map([
        [1, 12],
        [2, 11],
      ]),
    )
  })

  test('ahead of being asked is what is wanted and not there, where there is room', () => {
    expect(planSteps(pool({ ahead: 2, maxMaking: 9 })).make).toBe(2)
    expect(planSteps(pool({ ahead: 2, maxMaking: 9, members: [member(11, 'ready')] })).make).toBe(1)
    expect(planSteps(pool({ ahead: 2, maxMaking: 9, members: [member(11, 'ready', true)] })).make).toBe(2)
    expect(planSteps(pool({ ahead: 2, maxMaking: 9, maxClusters: 1 })).make).toBe(1)
  })

  test('ahead comes after what is asked for', () => {
    const { make } = planSteps(pool({ requests: [cluster(1)], ahead: 1, maxClusters: 1, maxMaking: 9 }))
    expect(make).toBe(1)
  })
})

describe('a full pool', () => {
  const full = { maxClusters: 2 }

  test('gives up what was rolled back when the oldest can do nothing with it', () => {
    const members = [member(11, 'leased'), member(12, 'ready', true)]
    const { remove, grants } = planSteps(pool({ ...full, members, requests: [cluster(1), rollback(2)] }))
    expect(remove).toEqual([12])
    // Or files with `rollback` would hand it on among them, for ever.
    expect(grants).toEqual([])
  })

  test('gives it to an older one that can use it', () => {
    const members = [member(11, 'leased'), member(12, 'ready', true)]
    const { remove, grants } = planSteps(pool({ ...full, members, requests: [rollback(1), cluster(2)] }))
    expect(grants).toEqual([{ request: 1, member: 12 }])
    expect(remove).toEqual([])
  })

  test('gives up nothing more than what makes room already', () => {
    const members = [member(11, 'leaving'), member(12, 'ready', true)]
    expect(planSteps(pool({ ...full, members, requests: [cluster(1)] })).remove).toEqual([])
  })

  test('keeps what is being rolled back from the younger, when the oldest needs its room', () => {
    const members = [member(11, 'leased'), member(12, 'rolling back', true)]
    const { claims } = planSteps(pool({ ...full, members, requests: [cluster(1), rollback(2)] }))
    expect(claims).toEqual(new Map())
  })
})

describe('members ahead', () => {
  test('are one for each file that has a cluster for good, and not more than files to come', () => {
    expect(membersAhead({ cluster: 5 }, 2, 2)).toBe(2)
    expect(membersAhead({ cluster: 1 }, 2, 2)).toBe(1)
    expect(membersAhead({ cluster: 0 }, 2, 2)).toBe(0)
  })

  test('are one before the first file asks, when files are known to come', () => {
    expect(membersAhead({ cluster: 5 }, 0, 0)).toBe(1)
    expect(membersAhead({ rollback: 5 }, 0, 0)).toBe(1)
    expect(membersAhead({ rollback: 5 }, 1, 0)).toBe(0)
    expect(membersAhead({ rollback: 0, cluster: 0 }, 0, 0)).toBe(0)
  })

  test('follow what files do where it is not known how many come', () => {
    expect(membersAhead({}, 0, 0)).toBe(0)
    expect(membersAhead({}, 2, 2)).toBe(2)
  })
})
