import { join } from 'node:path'
import {
  type ExpectedFiles,
  isOwn,
  type LeaseRequest,
  Pool,
  type PoolLease,
  type PoolMember,
  serveLeases,
} from '../broker/index.ts'
import { clusterSpecOf } from '../cluster/index.ts'
import type { ClusterSpec } from '../config/index.ts'
import { MayflyError } from '../errors.ts'
import { controlPlaneOnlyError } from '../kube/index.ts'
import { createProgress, type Progress } from '../progress/index.ts'
import { makePrivateFolder, removePrivateFolder } from '../reaper/index.ts'
import { clusterLimits, reasonForOneOnly } from './cluster-limits.ts'
import type { MayflyContext, RunContext } from './context.ts'
import type { SessionPlan } from './options.ts'
import { poolMember } from './pool-member.ts'
import { type PreparedCluster, prepareCluster } from './prepared-cluster.ts'
import { standInFor } from './stand-in.ts'

interface SessionParts {
  plan: SessionPlan
  /** Of the shared cluster. The names of the others have a number behind its name. */
  spec: ClusterSpec
  /** Why there can't be two clusters at a time. */
  onlyOne: string | undefined
  /** Has the broker's socket in it. */
  folder: string
  address: string
}

/** The clusters of one plan: the one that files share, and those that files have to themselves. */
export class Session {
  readonly #parts: SessionParts
  /** For what happens before the first test, and after the last. */
  readonly #progress: Progress
  /** For what happens while tests run, whose own output must stay legible. */
  readonly #background: Progress
  readonly #closing = new AbortController()
  #stopServing = async (): Promise<void> => undefined
  #shared: Promise<PreparedCluster> | undefined
  #pool: Promise<Pool> | undefined
  #pooled = 0
  #creations = 0
  #rollsBack = false
  readonly #expected = new Map<unknown, Required<ExpectedFiles>>()
  #reloading: Promise<void> | undefined

  private constructor(parts: SessionParts) {
    this.#parts = parts
    const mode = parts.plan.cluster.progress
    this.#progress = createProgress({ mode })
    this.#background = createProgress({ mode: mode === 'silent' ? mode : 'plain' })
  }

  /**
   * Starts to hand out clusters. None is made before it is asked for.
   *
   * @throws MayflyError `CONFIG_INVALID`, `CONFIG_UNREADABLE`, `SNAPSHOT_UNFIT`, `CONTROL_PLANE_ONLY`
   */
  static async open(plan: SessionPlan): Promise<Session> {
    const spec = await clusterSpecOf(plan.cluster)
    const onlyOne = await reasonForOneOnly(plan.cluster, spec)
    if (spec.controlPlaneOnly && plan.images.length > 0) throw controlPlaneOnlyError('load images')
    const folder = await makePrivateFolder('broker')
    // Windows has no sockets in folders.
    const address = process.platform === 'win32' ? `\\\\.\\pipe\\${folder}` : join(folder, 'socket')
    const session = new Session({ plan, spec, onlyOne, folder, address })
    session.#stopServing = await serveLeases(address, (request, signal) => session.#lend(request, signal))
    return session
  }

  /**
   * Makes what a project's tests need first, the shared cluster or the first of the others, and tells what tests are told.
   *
   * @throws MayflyError what keeps it from being made
   */
  async contextFor(plan: SessionPlan): Promise<MayflyContext> {
    const { isolation } = plan
    const { folder } = this.#parts
    this.#rollsBack ||= isolation === 'rollback'
    const cluster = isOwn(isolation)
      ? await standInFor(isolation, await (await this.#ownClusters()).warm(), folder)
      : (await this.#sharedCluster()).context
    return { ...cluster, ...this.runContext(plan) }
  }

  /** What a project's tests are told when nothing is made for them before one of their files asks for it. */
  runContext({ isolation, root, keepFailedNamespaces, diagnosticsDir }: SessionPlan): RunContext {
    return { isolation, root, keepFailedNamespaces, diagnosticsDir, broker: this.#parts.address }
  }

  /**
   * Tells how many files of a project will ask for clusters of their own, so that these can be made while earlier files run.
   * Takes the place of what was told of the project before.
   *
   * @param project Tells projects apart that share this session
   */
  async expect(project: unknown, files: Required<ExpectedFiles>): Promise<void> {
    this.#expected.set(project, files)
    const total = { rollback: 0, cluster: 0 }
    for (const { rollback, cluster } of this.#expected.values()) {
      total.rollback += rollback
      total.cluster += cluster
    }
    this.#rollsBack ||= total.rollback > 0
    if (this.#parts.onlyOne && this.#shared) return
    if (this.#pool || total.rollback + total.cluster > 0) (await this.#ownClusters()).expect(total)
  }

  /** Brings images whose content changed and manifests that changed since to all clusters. A second call waits for the first. */
  async reload(): Promise<void> {
    this.#reloading ??= this.#reload().finally(() => {
      this.#reloading = undefined
    })
    await this.#reloading
  }

  async #reload(): Promise<void> {
    const [shared, pool] = await Promise.all([this.#shared, this.#pool])
    await shared?.refresh()
    await pool?.refresh()
  }

  /**
   * Deletes all clusters.
   *
   * @throws What kept clusters from being deleted
   */
  async close(): Promise<void> {
    this.#closing.abort(new MayflyError('WAIT_ABORTED', 'The test run is over'))
    await this.#stopServing()
    const [shared, pool] = await Promise.all([this.#shared?.catch(() => undefined), this.#pool])
    const count = (shared ? 1 : 0) + (pool?.size ?? 0)
    const what = shared && count === 1 ? `cluster ${shared.context.name}` : `clusters of the run`
    const remove = () => Promise.allSettled([shared?.cluster.delete(), pool?.close()])
    const outcomes = count > 0 ? await this.#progress.step(`Delete ${what}`, remove) : []
    await removePrivateFolder(this.#parts.folder)
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
  }

  async #lend({ isolation, file }: LeaseRequest, signal: AbortSignal): Promise<PoolLease> {
    if (isOwn(isolation)) {
      this.#rollsBack ||= isolation === 'rollback'
      return (await this.#ownClusters()).lease(isolation, { file, signal })
    }
    const { context } = await this.#sharedCluster()
    return { cluster: context, release: () => undefined }
  }

  /** Whoever asks first has it made. What keeps it from being made is everybody's to know. */
  #sharedCluster(): Promise<PreparedCluster> {
    this.#shared ??= this.#makeShared()
    return this.#shared
  }

  async #makeShared(): Promise<PreparedCluster> {
    this.#refuseSecond((await this.#pool)?.size)
    return this.#create(this.#parts.spec.name, this.#closing.signal)
  }

  #ownClusters(): Promise<Pool> {
    this.#pool ??= this.#makePool()
    return this.#pool
  }

  async #makePool(): Promise<Pool> {
    const { plan, spec, onlyOne } = this.#parts
    const { clusters, creations } = await clusterLimits(spec)
    const limit = onlyOne ? 1 : (plan.maxClusters ?? clusters)
    return new Pool({
      make: (signal) => this.#makeOwn(`${spec.name}-${++this.#pooled}`, signal),
      maxClusters: () => Math.max(1, this.#shared ? limit - 1 : limit),
      maxMaking: creations,
      onTrouble: (sentence) => this.#background.note(sentence),
    })
  }

  async #makeOwn(name: string, signal: AbortSignal): Promise<PoolMember> {
    this.#refuseSecond(this.#shared && 1)
    const prepared = await this.#create(name, signal)
    const member = poolMember(prepared, signal)
    try {
      if (this.#rollsBack) await member.save()
    } catch (thrown) {
      await member.delete()
      throw thrown
    }
    return member
  }

  #refuseSecond(others: number | undefined): void {
    const { onlyOne } = this.#parts
    if (!onlyOne || !others) return
    throw new MayflyError('CONFIG_INVALID', `There can't be a second cluster because ${onlyOne}`, {
      hint: 'Leave that to mayfly, or have no files that share a cluster beside files that have one to themselves',
    })
  }

  /** The first is waited for with nothing else to look at; those after it are made while tests run. */
  #create(name: string, signal: AbortSignal): Promise<PreparedCluster> {
    const { plan } = this.#parts
    if (this.#creations++ === 0) return prepareCluster(plan, { name, signal, progress: this.#progress })
    const progress = createProgress({ mode: 'silent' })
    return this.#background.step(`Create cluster ${name}`, () =>
      prepareCluster(plan, { name, signal, progress, mode: 'silent' }),
    )
  }
}
