import { MayflyError, messageOf } from '../errors.ts'
import type { OwnIsolation } from './isolation.ts'
import { type ExpectedFiles, membersAhead, type PlannedMember, type PoolState, planSteps } from './plan.ts'
import type { ClusterContext } from './protocol.ts'

/** A cluster, as the pool sees it. */
export interface PoolMember {
  readonly cluster: ClusterContext
  /** Fails when it is of no use any more. */
  check(): Promise<void>
  /** Makes sure that there is a state to roll back to: that of now, the first time. */
  save(): Promise<void>
  /** Takes it back to that state; fails when that can't be reached. */
  rollBack(): Promise<void>
  /** Brings to it what changed in the project's files; the state to roll back to is the new one. */
  refresh(): Promise<void>
  delete(): Promise<void>
}

/** What a pool works with. */
export interface PoolParts {
  /** Makes a member. When the signal fires, this and all that a member does, but for its deletion, is to give up. */
  make(signal: AbortSignal): Promise<PoolMember>
  /** Members at a time; asked before each decision. */
  maxClusters(): number
  /** Members that are made at a time. */
  maxMaking: number
  /** Gets a sentence on what went wrong without any file's being concerned. */
  onTrouble(sentence: string): void
}

/** Who asks for a cluster. */
export interface Asking {
  /** The test file, as messages name it. */
  file: string
  /** Fires when it is not interested any more. */
  signal: AbortSignal
}

/** A cluster that is one file's. */
export interface PoolLease {
  cluster: ClusterContext
  /** Gives it back. What the file did to it is undone before another file gets it. */
  release(): void
}

interface Waiting extends Asking {
  id: number
  isolation: OwnIsolation
  resolve(entry: Entry): void
  reject(reason: unknown): void
}

interface Entry extends PlannedMember {
  /** From the moment when it is made. */
  member?: PoolMember
  /** The file that has it or had it last, and what it asked for. */
  file?: string
  isolation?: OwnIsolation
  /** The project's files changed since it was made. */
  stale: boolean
}

/** After so many failures in a row nothing more is made, and no file waits for it. */
const failuresInARow = 3

/**
 * Clusters for files that want one of their own. They are made when files ask, or ahead of it; handed out in the order in
 * which files asked; and rolled back or replaced when they come back.
 */
export class Pool {
  readonly #parts: PoolParts
  readonly #entries = new Map<number, Entry>()
  readonly #work = new Set<Promise<void>>()
  readonly #closing = new AbortController()
  #waiting: Waiting[] = []
  #expected: ExpectedFiles = {}
  #lastId = 0
  #failures = 0
  #lastFailure: unknown
  readonly #undeleted: unknown[] = []

  constructor(parts: PoolParts) {
    this.#parts = parts
  }

  /** How many clusters there are, those included that are being made or deleted. */
  get size(): number {
    return this.#entries.size
  }

  /** Tells how many files will ask, so that clusters can be made ahead. Each that asks counts one down. */
  expect(files: ExpectedFiles): void {
    this.#expected = files
    this.#advance()
  }

  /**
   * Hands a cluster to a file, as soon as there is one.
   *
   * @throws What kept a cluster from being made for this file; `WAIT_ABORTED` when the pool is closed
   */
  async lease(isolation: OwnIsolation, asking: Asking): Promise<PoolLease> {
    const left = this.#expected[isolation]
    if (left) this.#expected = { ...this.#expected, [isolation]: left - 1 }
    const entry = await this.#next(isolation, asking)
    let isReleased = false
    return {
      cluster: memberOf(entry).cluster,
      release: () => {
        if (isReleased) return
        isReleased = true
        this.#run(isolation === 'cluster' ? this.#remove(entry) : this.#bringBack(entry))
      },
    }
  }

  /**
   * Waits until there is a cluster for the first file that will ask.
   *
   * @throws What kept it from being made
   */
  async warm(): Promise<ClusterContext> {
    const entry = await this.#next('cluster', { file: 'nobody', signal: this.#closing.signal })
    this.#run(this.#offer(entry))
    return memberOf(entry).cluster
  }

  /** Brings to all clusters what changed in the project's files; to those that files have, when they come back. */
  async refresh(): Promise<void> {
    this.#failures = 0
    const entries = [...this.#entries.values()]
    for (const entry of entries) entry.stale = true
    await Promise.all(entries.filter(({ state }) => state === 'ready').map((entry) => this.#offer(entry)))
  }

  /**
   * Deletes all clusters, also those that files have.
   *
   * @throws AggregateError with what kept clusters from being deleted
   */
  async close(): Promise<void> {
    const reason = new MayflyError('WAIT_ABORTED', 'The test run is over')
    this.#closing.abort(reason)
    for (const { reject } of this.#waiting.splice(0)) reject(reason)
    await Promise.all(this.#work)
    await Promise.all([...this.#entries.values()].map((entry) => this.#remove(entry)))
    if (this.#undeleted.length > 0) {
      throw new AggregateError(this.#undeleted, this.#undeleted.map(messageOf).join('\n'))
    }
  }

  #next(isolation: OwnIsolation, { file, signal }: Asking): Promise<Entry> {
    this.#closing.signal.throwIfAborted()
    const { promise, resolve, reject } = Promise.withResolvers<Entry>()
    const id = ++this.#lastId
    const giveUp = () => {
      this.#waiting = this.#waiting.filter((waiting) => waiting.id !== id)
      reject(signal.reason)
      this.#advance()
    }
    signal.addEventListener('abort', giveUp, { once: true })
    this.#waiting.push({ id, isolation, file, signal, resolve, reject })
    this.#advance()
    return promise.finally(() => signal.removeEventListener('abort', giveUp))
  }

  #state(): PoolState {
    const members = [...this.#entries.values()]
    const leasedForGood = members.filter(
      ({ state, isolation }) => state === 'leased' && isolation === 'cluster',
    ).length
    return {
      requests: this.#waiting,
      members,
      maxClusters: this.#failures < failuresInARow ? this.#parts.maxClusters() : 0,
      maxMaking: this.#parts.maxMaking,
      // What failed once is tried again when a file asks, and not before.
      ahead: this.#failures === 0 ? membersAhead(this.#expected, members.length, leasedForGood) : 0,
    }
  }

  #advance(): void {
    if (this.#closing.signal.aborted) return
    this.#rejectHopeless()
    const { grants, remove, make } = planSteps(this.#state())
    for (const { request, member } of grants) {
      const waiting = this.#waiting.find(({ id }) => id === request)
      const entry = this.#entries.get(member)
      if (waiting && entry) this.#run(this.#grant(entry, waiting))
    }
    for (const id of remove) {
      const entry = this.#entries.get(id)
      if (entry) this.#run(this.#remove(entry))
    }
    for (let made = 0; made < make; made++) this.#run(this.#make())
  }

  /** Where nothing can be made, only clusters that come back can still be handed out. */
  #rejectHopeless(): void {
    if (this.#failures < failuresInARow) return
    const isHopeless = ({ isolation }: Waiting) => isolation === 'cluster' || this.#entries.size === 0
    for (const { reject } of this.#waiting.filter(isHopeless)) reject(this.#lastFailure)
    this.#waiting = this.#waiting.filter((waiting) => !isHopeless(waiting))
  }

  async #make(): Promise<void> {
    const entry: Entry = { id: ++this.#lastId, state: 'making', used: false, stale: false }
    this.#entries.set(entry.id, entry)
    try {
      entry.member = await this.#parts.make(this.#closing.signal)
    } catch (thrown) {
      this.#fail(entry, thrown)
      return
    }
    await this.#offer(entry)
  }

  /** The file that counted on what could not be made is told why. */
  #fail(entry: Entry, thrown: unknown): void {
    const { claims } = planSteps(this.#state())
    this.#entries.delete(entry.id)
    if (this.#closing.signal.aborted) return
    this.#failures++
    this.#lastFailure = thrown
    const concerned = this.#waiting.find(({ id }) => claims.get(id) === entry.id)
    if (concerned) {
      this.#waiting = this.#waiting.filter((waiting) => waiting !== concerned)
      concerned.reject(thrown)
    } else this.#parts.onTrouble(`A cluster could not be made ahead: ${messageOf(thrown)}`)
    this.#advance()
  }

  /** Makes a member available, with what changed in the project's files meanwhile. */
  async #offer(entry: Entry): Promise<void> {
    if (entry.stale) entry.state = 'rolling back'
    try {
      while (entry.stale) {
        entry.stale = false
        await memberOf(entry).refresh()
      }
    } catch (thrown) {
      await this.#replace(entry, 'could not be brought up to date', thrown)
      return
    }
    entry.state = 'ready'
    this.#advance()
  }

  async #grant(entry: Entry, waiting: Waiting): Promise<void> {
    const { isolation, file, signal } = waiting
    const member = memberOf(entry)
    this.#waiting = this.#waiting.filter((one) => one !== waiting)
    entry.state = 'leased'
    entry.file = file
    entry.isolation = isolation
    try {
      await member.check()
      if (isolation === 'rollback') await member.save()
    } catch (thrown) {
      this.#failures++
      this.#lastFailure = thrown
      if (!signal.aborted) this.#waiting = [waiting, ...this.#waiting].sort((one, other) => one.id - other.id)
      await this.#replace(entry, 'is of no use any more', thrown)
      return
    }
    this.#failures = 0
    if (signal.aborted) await this.#offer(entry)
    else waiting.resolve(entry)
  }

  async #bringBack(entry: Entry): Promise<void> {
    entry.state = 'rolling back'
    entry.used = true
    try {
      await memberOf(entry).rollBack()
    } catch (thrown) {
      await this.#replace(entry, `could not be rolled back after ${entry.file}`, thrown)
      return
    }
    await this.#offer(entry)
  }

  async #replace(entry: Entry, why: string, thrown: unknown): Promise<void> {
    if (!this.#closing.signal.aborted) {
      const { name } = memberOf(entry).cluster
      const [reason = ''] = messageOf(thrown).split('\n')
      this.#parts.onTrouble(`Cluster ${name} ${why} and is replaced: ${reason}`)
    }
    await this.#remove(entry)
  }

  async #remove(entry: Entry): Promise<void> {
    entry.state = 'leaving'
    try {
      await entry.member?.delete()
    } catch (thrown) {
      this.#undeleted.push(thrown)
    }
    this.#entries.delete(entry.id)
    this.#advance()
  }

  /** Work that nobody waits for, but for the end of the pool. */
  #run(work: Promise<void>): void {
    this.#work.add(work)
    void work.finally(() => this.#work.delete(work))
  }
}

function memberOf({ member }: Entry): PoolMember {
  if (!member) throw new Error('a cluster was used before it was made')
  return member
}
