import type { OwnIsolation } from './isolation.ts'

/** A test file that waits for a cluster of its own. */
export interface PlannedRequest {
  id: number
  isolation: OwnIsolation
}

/** A cluster of the pool. */
export interface PlannedMember {
  id: number
  state: 'making' | 'ready' | 'leased' | 'rolling back' | 'leaving'
  /** A file had it before. */
  used: boolean
}

/** All that decides what the pool does next. */
export interface PoolState {
  /** The oldest first. */
  requests: readonly PlannedRequest[]
  members: readonly PlannedMember[]
  /** Bound of all members, those that are leaving included. */
  maxClusters: number
  /** Bound of members that are made at a time. */
  maxMaking: number
  /** Members, made or being made, that there should be for requests still to come, where there is room. */
  ahead: number
}

/** What the pool does next. */
export interface PoolSteps {
  grants: { request: number; member: number }[]
  /** Members that are deleted to make room. */
  remove: number[]
  /** How many members are made. */
  make: number
  /** On which member, that is not ready yet, a request counts. */
  claims: Map<number, number>
}

/**
 * Decides what the pool does next; pure. Requests are served in their order: each takes, or counts on, the best member that
 * no older one takes or counts on. So none starves, also where some ask for what others can't use: `cluster` wants a
 * member that no file had before, `rollback` prefers one that a file had.
 */
export function planSteps({ requests, members, maxClusters, maxMaking, ahead }: PoolState): PoolSteps {
  const free = new Set(members)
  const take = (state: PlannedMember['state'], used?: boolean) => {
    const found = [...free].find(
      (member) => member.state === state && (used === undefined || member.used === used),
    )
    if (found) free.delete(found)
    return found
  }
  const steps: PoolSteps = { grants: [], remove: [], make: 0, claims: new Map() }
  let room = maxClusters - members.length
  let wanted = 0

  for (const { id, isolation } of requests) {
    const takesUsed = isolation === 'rollback'
    const ready = (takesUsed && take('ready', true)) || take('ready', false)
    if (ready) {
      steps.grants.push({ request: id, member: ready.id })
      continue
    }
    const coming = (takesUsed && take('rolling back')) || take('making')
    if (coming) {
      steps.claims.set(id, coming.id)
      continue
    }
    if (room > 0) {
      room--
      wanted++
      continue
    }
    // Somebody has to go: who is going already, or who is of no use to this one.
    if (take('leaving') || takesUsed) continue
    const useless = take('ready', true)
    if (useless) steps.remove.push(useless.id)
    else take('rolling back')
  }

  const spare = [...free].filter(
    ({ state, used }) => state === 'making' || (state === 'ready' && !used),
  ).length
  wanted += Math.max(0, Math.min(ahead - spare, room))
  const making = members.filter(({ state }) => state === 'making').length
  steps.make = Math.max(0, Math.min(wanted, maxMaking - making))
  return steps
}

/** How many test files will still ask, as far as that is known. */
export type ExpectedFiles = Partial<Record<OwnIsolation, number>>

/**
 * How many members should be there before they are asked for: one for each file that has a cluster for good now, because the
 * next file will want another, and at least one when files are known to come.
 *
 * @param leasedForGood Members that files with isolation `cluster` have
 */
export function membersAhead(expected: ExpectedFiles, members: number, leasedForGood: number): number {
  const atLeast = expected.cluster === undefined ? 0 : 1
  const forCluster = Math.min(expected.cluster ?? leasedForGood, Math.max(atLeast, leasedForGood))
  const forRollback = members === 0 && (expected.rollback ?? 0) > 0 ? 1 : 0
  return Math.max(forCluster, forRollback)
}
