import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import {
  type Engine,
  execOrThrow,
  execStream,
  listContainers,
  startContainer,
  unpauseContainer,
} from '../engine/index.ts'
import { MayflyError } from '../errors.ts'
import { label } from '../reaper/index.ts'
import { differencesFromCapture } from './capture.ts'
import { folderOf, type Snapshot } from './snapshot.ts'
import { controlPlaneNames, type SnapshotTarget } from './take.ts'

/**
 * How a roll-back is done.
 *
 * @public
 */
export interface RollbackOptions {
  /**
   * Waits until nothing of the old state is left and all that the snapshot has is Ready; default true. Without, the call
   * returns when the API shows the snapshot's state, and {@link RollbackReport.settled} tells of the rest.
   */
  settle?: boolean
  /**
   * `cheap` compares etcd with the snapshot key by key at the end; `full` compares every object through the API as well,
   * and needs a snapshot that was taken in this process with `objects: true`. Default `cheap`.
   */
  verify?: 'cheap' | 'full'
  /** Fails when the cluster is not as it was after so many milliseconds; default 60 000. */
  timeoutMs?: number
  signal?: AbortSignal | undefined
}

/**
 * What a roll-back has done by the time when the API shows the snapshot's state.
 *
 * @public
 */
export interface RollbackReport {
  /** Name of the snapshot. */
  snapshot: string
  /**
   * `in-place`: only objects and processes of pods changed. `restart`: files of nodes had to be put back as well, and what
   * reads them was restarted.
   */
  way: 'in-place' | 'restart'
  /** Keys of etcd that were deleted, and that were written. */
  deleted: number
  written: number
  /** Pods of the snapshot that were gone or on their way out, as `NAMESPACE/NAME`; they start once more. */
  restartedPods: string[]
  /** From the call until the API showed the snapshot's state. */
  pristineMs: number
  /** What had not come about yet when the call returned; empty unless `settle` is false. */
  pending: string[]
  /**
   * The rest: it ends when the cluster is as it was in every respect. Handled or not, its failure ends no process.
   *
   * @throws MayflyError `ROLLBACK_FAILED`
   */
  settled: Promise<SettledReport>
}

/**
 * What a roll-back has done at its end.
 *
 * @public
 */
export interface SettledReport {
  /** From the call until no process of a pod of the old state was left on any node. */
  processesGoneMs: number
  /** From the call to the end. */
  settledMs: number
  /** How many such pods there were. */
  endedPods: number
  /** Folders of local volumes that were removed, as `NODE:NAME`. */
  removedVolumes: string[]
  /** Files that were put back, as `NODE:PATH`. */
  restoredFiles: string[]
  /** How often something had to be written again, because somebody was still at work on the old state. */
  repeats: number
  /** Keys of etcd that were compared at the end. */
  keys: number
}

/** What `mayfly-node rollback` tells first; its twin is in node-image/mayfly-node/internal/rollback/rollback.go. */
interface Written {
  event: 'written'
  deleted: number
  written: number
  restarted: string[]
  files: string[]
  gone: string[]
  wanted: string[]
  volumes: string[]
  beforeMs: number
}

/** What it tells at the end. */
interface Settled {
  event: 'settled'
  pending: string[]
  repeats: number
  keys: number
}

/** What `mayfly-node rollback-node` answers. */
interface NodeDone {
  files: string[]
  ended: number
  volumes: string[]
  pending: string[]
}

/** Time for a roll-back, in milliseconds. Generous: only a broken cluster takes it. */
const defaultTimeoutMs = 60_000

/**
 * Takes a cluster back to a snapshot while it runs.
 *
 * @throws MayflyError `ROLLBACK_FAILED` when the cluster can't be brought back: it is of no more use then
 */
export async function rollBack(
  target: SnapshotTarget,
  snapshot: Snapshot,
  { settle = true, verify = 'cheap', timeoutMs = defaultTimeoutMs, signal }: RollbackOptions = {},
): Promise<RollbackReport> {
  const started = performance.now()
  const elapsed = () => Math.round(performance.now() - started)
  const { engine, plan, kube } = target
  const limits = { timeoutMs, signal }
  await wakeNodes(engine, plan.spec.name, snapshot)
  const [controlPlane = ''] = controlPlaneNames(plan)
  const control = await startControl(engine, controlPlane, snapshot, limits)
  const { written } = control
  const pristineMs = elapsed()

  const finish = async (): Promise<SettledReport> => {
    const { gone, wanted, volumes, beforeMs } = written
    const request = { dir: folderOf(snapshot.name), gone, wanted, volumes, beforeMs, timeoutMs }
    const nodes = await Promise.all(
      snapshot.nodes.map(async (name) => ({ name, ...(await finishNode(engine, name, request, limits)) })),
    )
    const processesGoneMs = elapsed()
    const { pending, repeats, keys } = await control.end()
    const late = nodes.flatMap(({ name, pending }) => pending.map((what) => `${name}: ${what}`))
    if (pending.length + late.length > 0) throw unreached(snapshot, [...pending, ...late], elapsed())
    if (verify === 'full') {
      const differences = await differencesFromCapture(kube, snapshot, written.restarted, signal)
      if (differences.length > 0) throw unreached(snapshot, differences, elapsed())
    }
    const restoredFiles = [
      ...written.files.map((path) => `${controlPlane}:${path}`),
      ...nodes.flatMap(({ name, files }) => files.map((path) => `${name}:${path}`)),
    ]
    return {
      processesGoneMs,
      settledMs: elapsed(),
      endedPods: nodes.reduce((sum, { ended }) => sum + ended, 0),
      removedVolumes: nodes.flatMap(({ name, volumes }) => volumes.map((volume) => `${name}:${volume}`)),
      restoredFiles,
      repeats,
      keys,
    }
  }
  const settled = finish()
  settled.catch(() => undefined)
  const done = settle ? await settled : undefined
  const restored = (done?.restoredFiles ?? written.files).length > 0
  return {
    snapshot: snapshot.name,
    way: restored ? 'restart' : 'in-place',
    deleted: written.deleted,
    written: written.written,
    restartedPods: written.restarted,
    pristineMs,
    pending: done ? [] : pendingAfter(written),
    settled,
  }
}

function pendingAfter({ gone, restarted }: Written): string[] {
  return [
    ...(gone.length > 0 ? [`${gone.length} pods of the old state to end`] : []),
    ...restarted.map((pod) => `pod ${pod} to be Ready`),
    'a comparison with the snapshot once controllers are at rest',
  ]
}

/** A node that a suite stopped or froze can neither be read nor rolled back. */
async function wakeNodes(engine: Engine, cluster: string, snapshot: Snapshot): Promise<void> {
  const containers = await listContainers(engine, { [label.cluster]: cluster })
  const states = new Map(containers.map(({ name, state }) => [name, state]))
  const missing = snapshot.nodes.filter((name) => !states.has(name))
  if (missing.length > 0) {
    throw new MayflyError(
      'ROLLBACK_FAILED',
      `Cluster ${cluster} can't be taken back to snapshot "${snapshot.name}": node ${missing.join(', ')} is gone`,
      { hint: 'Delete the cluster and create a new one' },
    )
  }
  await Promise.all(
    [...states].map(([name, state]) => {
      if (state === 'paused') return unpauseContainer(engine, name)
      return state === 'running' ? undefined : startContainer(engine, name)
    }),
  )
}

/** The roll-back of etcd, which goes on in a control-plane node. */
interface Control {
  written: Written
  /** Says that the nodes have ended what they had to, and waits for the end. */
  end(): Promise<Settled>
}

interface Limits {
  timeoutMs: number
  signal: AbortSignal | undefined
}

async function startControl(
  engine: Engine,
  node: string,
  snapshot: Snapshot,
  { timeoutMs, signal }: Limits,
): Promise<Control> {
  const running = await execStream(engine, node, ['mayfly-node', 'rollback'], {
    signal,
    timeoutMs: timeoutMs + 5000,
  })
  const complaint = text(running.stderr)
  complaint.catch(() => undefined)
  running.stdin.write(JSON.stringify({ dir: folderOf(snapshot.name), timeoutMs }))
  const answers = createInterface({ input: running.stdout })[Symbol.asyncIterator]()
  const next = async <T>(): Promise<T> => {
    const { value, done } = await answers.next()
    if (!done) return JSON.parse(value) as T
    await running.exited
    throw new MayflyError(
      'ROLLBACK_FAILED',
      `Cluster ${snapshot.cluster} can't be taken back to snapshot "${snapshot.name}": its control plane does not take part`,
      { hint: 'Delete the cluster and create a new one', output: await complaint },
    )
  }
  return {
    written: await next<Written>(),
    async end() {
      running.stdin.end()
      return next<Settled>()
    },
  }
}

async function finishNode(
  engine: Engine,
  node: string,
  request: object,
  { timeoutMs, signal }: Limits,
): Promise<NodeDone> {
  const answer = await execOrThrow(engine, node, ['mayfly-node', 'rollback-node'], {
    stdin: JSON.stringify(request),
    signal,
    timeoutMs: timeoutMs + 5000,
  })
  return JSON.parse(answer) as NodeDone
}

function unreached(snapshot: Snapshot, pending: readonly string[], elapsedMs: number): MayflyError {
  return new MayflyError(
    'ROLLBACK_FAILED',
    `Cluster ${snapshot.cluster} is not back at snapshot "${snapshot.name}" after ${(elapsedMs / 1000).toFixed(1)} s: ${pending.length} things are not as they were`,
    {
      hint: 'See to it that nothing outside of the cluster goes on writing to it, or create a new one',
      output: pending.slice(0, 50).join('\n'),
    },
  )
}
