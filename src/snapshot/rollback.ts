import { controlPlaneNames, waitUntilUsable } from '../boot/index.ts'
import {
  type Engine,
  engineStatus,
  exec,
  listContainers,
  startContainer,
  unpauseContainer,
} from '../engine/index.ts'
import { isMayflyError, MayflyError, messageOf } from '../errors.ts'
import { label } from '../reaper/index.ts'
import { until, type WaitLimits } from '../wait.ts'
import { type Capture, captureOf, differencesFromCapture } from './capture.ts'
import { startEarly } from './early-program.ts'
import { type Control, finishNode, type NodeDone, startControl, type Written } from './in-nodes.ts'
import type { RollbackOptions, RollbackReport, SettledReport } from './report.ts'
import type { Snapshot } from './snapshot.ts'
import type { SnapshotTarget } from './take.ts'

/** Time for a roll-back, in milliseconds. Generous: only a broken cluster takes it. */
const defaultTimeoutMs = 60_000

/**
 * Takes a cluster back to a snapshot while it runs.
 *
 * @param prepare Gives the cluster the nodes that it had; those may be stopped or paused
 * @throws MayflyError `ROLLBACK_FAILED` when the cluster can't be brought back: it is of no more use then; `WAIT_ABORTED`;
 *   `CONFIG_INVALID`, before anything is taken back, when there is nothing that `verify: 'full'` could compare with
 */
export async function rollBack(
  prepare: () => Promise<SnapshotTarget>,
  snapshot: Snapshot,
  { settle = true, verify = 'cheap', timeoutMs = defaultTimeoutMs, signal }: RollbackOptions = {},
): Promise<RollbackReport> {
  const started = performance.now()
  const elapsed = () => Math.round(performance.now() - started)
  const limits = { timeoutMs, signal }
  const capture = verify === 'full' ? captureOf(snapshot) : undefined
  try {
    const target = await prepare()
    const begun = await begin(target, snapshot, limits)
    const pristineMs = elapsed()
    const settled = finish(target, snapshot, begun, limits, elapsed).then(async (done) => {
      if (capture) await assertAsCaptured(target, snapshot, capture, signal)
      return { ...done, settledMs: elapsed() }
    })
    settled.catch(() => undefined)
    const done = settle ? await settled : undefined
    const { written, startedNodes } = begun
    const isRestart = startedNodes.length > 0 || (done?.restoredFiles ?? written.files).length > 0
    return {
      snapshot: snapshot.name,
      way: isRestart ? 'restart' : 'in-place',
      deleted: written.deleted,
      written: written.written,
      restartedPods: written.restarted,
      pristineMs,
      pending: done ? [] : pendingAfter(written),
      settled,
    }
  } catch (thrown) {
    throw asFailure(snapshot, thrown)
  }
}

/** A roll-back whose state is written. */
interface Begun extends Control {
  /** The control-plane node that it goes on in. */
  controlPlane: string
  /** Nodes that were switched off. */
  startedNodes: string[]
}

async function begin(
  { engine, plan }: SnapshotTarget,
  snapshot: Snapshot,
  limits: WaitLimits,
): Promise<Begun> {
  const [controlPlane = ''] = controlPlaneNames(plan)
  // Nodes are nearly always awake: the work begins beside the look at them, and again where the look was needed.
  const waking = wakeNodes(engine, snapshot, limits)
  const [first] = await Promise.allSettled([startControl(engine, controlPlane, snapshot, limits), waking])
  const { started, unpaused } = await waking
  if (first.status === 'rejected' && started.length + unpaused.length === 0) throw first.reason
  const control =
    first.status === 'fulfilled' ? first.value : await startControl(engine, controlPlane, snapshot, limits)
  return { ...control, controlPlane, startedNodes: started }
}

/** Starts nodes that a suite stopped or froze: they can neither be read nor rolled back. */
async function wakeNodes(
  engine: Engine,
  { cluster, nodes }: Snapshot,
  { signal }: WaitLimits,
): Promise<{ started: string[]; unpaused: string[] }> {
  const containers = await listContainers(engine, { [label.cluster]: cluster }, { signal })
  const states = new Map(containers.map(({ name, state }) => [name, state]))
  const missing = nodes.map(({ name }) => name).filter((name) => !states.has(name))
  if (missing.length > 0) {
    throw new MayflyError('ROLLBACK_FAILED', `Cluster ${cluster} has lost node ${missing.join(', ')}`, {
      hint: 'Delete the cluster and create a new one',
    })
  }
  const asleep = [...states.keys()].filter((name) => states.get(name) !== 'running')
  const unpaused = asleep.filter((name) => states.get(name) === 'paused')
  const started = asleep.filter((name) => !unpaused.includes(name))
  await Promise.all([
    ...unpaused.map((name) => unpauseContainer(engine, name, { signal })),
    ...started.map((name) => startContainer(engine, name, { signal })),
  ])
  return { started, unpaused }
}

/** Whether a command did not get to run, or not to its end: whatever runs there complains in its own name. */
function isOutOfReach(thrown: unknown): boolean {
  if (engineStatus(thrown) !== undefined) return true
  return isMayflyError(thrown) && thrown.code === 'EXEC_FAILED' && !thrown.output?.startsWith('mayfly-node ')
}

/** How long an engine may take to notice that a container has ended, in milliseconds. */
const noticeMs = 10_000

/** Starts a node whose container the engine could not run a command in; one that runs after all is left alone. */
async function wakeNode(
  engine: Engine,
  snapshot: Snapshot,
  name: string,
  { signal }: WaitLimits,
): Promise<void> {
  await until(
    `node ${name} to take commands`,
    async () => {
      await wakeNodes(engine, snapshot, { timeoutMs: noticeMs, signal })
      return (await exec(engine, name, ['true'], { signal })).exitCode === 0 || undefined
    },
    { timeoutMs: noticeMs, signal, intervalMs: 200 },
  )
}

/** Ends what is left of the old state, and waits until all is as it was. */
async function finish(
  { engine, plan, kube }: SnapshotTarget,
  snapshot: Snapshot,
  { written, controlPlane, startedNodes, ...control }: Begun,
  limits: WaitLimits,
  elapsed: () => number,
): Promise<Omit<SettledReport, 'settledMs'>> {
  try {
    // What the API says of pods on a node that was switched off was true before.
    if (startedNodes.length > 0) await waitUntilUsable(engine, plan, kube, limits)
    // A node that is just being switched off is still said to run, and takes no command any more.
    const finishOnce = async (name: string) => {
      try {
        return await finishNode(engine, name, snapshot, written, limits)
      } catch (thrown) {
        if (!isOutOfReach(thrown)) throw thrown
        await wakeNode(engine, snapshot, name, limits)
        await waitUntilUsable(engine, plan, kube, limits)
        return finishNode(engine, name, snapshot, written, limits)
      }
    }
    const withPods = plan.spec.controlPlaneOnly ? [] : snapshot.nodes
    const onAll = (finishOne: (name: string) => Promise<NodeDone>) =>
      Promise.all(
        withPods.map(async ({ name }) => {
          const done = await finishOne(name)
          return { name, ...done, goneMs: elapsed() - done.tookMs + done.goneMs }
        }),
      )
    const nodes = await onAll(finishOnce)
    const restored = nodes.some(({ files }) => files.length > 0)
    const { pending, repeats, gone, keys } = await control.end({ restored })
    startEarly(engine, controlPlane)
    if (gone.length > 0) {
      const wanted = written.wanted.filter((uid) => !gone.includes(uid))
      nodes.push(
        ...(await onAll((name) => finishNode(engine, name, snapshot, { ...written, gone, wanted }, limits))),
      )
    }
    const late = nodes.flatMap(({ name, pending }) => pending.map((what) => `${name}: ${what}`))
    assertReached(snapshot, [...pending, ...late])
    return {
      processesGoneMs: Math.max(0, ...nodes.map(({ goneMs }) => goneMs)),
      endedPods: nodes.reduce((sum, { ended }) => sum + ended, 0),
      removedVolumes: nodes.flatMap(({ name, volumes }) => volumes.map((volume) => `${name}:${volume}`)),
      restoredFiles: [
        ...written.files.map((path) => `${controlPlane}:${path}`),
        ...nodes.flatMap(({ name, files }) => files.map((path) => `${name}:${path}`)),
      ],
      repeats,
      keys,
    }
  } catch (thrown) {
    control.giveUp()
    throw asFailure(snapshot, thrown)
  }
}

async function assertAsCaptured(
  { kube }: SnapshotTarget,
  snapshot: Snapshot,
  capture: Capture,
  signal: AbortSignal | undefined,
): Promise<void> {
  assertReached(snapshot, await differencesFromCapture(kube, capture, signal))
}

function assertReached({ cluster, name }: Snapshot, pending: readonly string[]): void {
  if (pending.length === 0) return
  const what = pending.length === 1 ? '1 thing is' : `${pending.length} things are`
  throw new MayflyError(
    'ROLLBACK_FAILED',
    `Cluster ${cluster} is not back at snapshot "${name}": ${what} not as before`,
    {
      hint: 'See to it that nobody outside of the cluster goes on writing to it, or create a new one',
      output: pending.slice(0, 50).join('\n'),
    },
  )
}

function pendingAfter({ gone, restarted }: Written): string[] {
  return [
    ...(gone.length > 0 ? [`${gone.length} pods of the old state to end`] : []),
    ...restarted.map((pod) => `pod ${pod} to be Ready`),
    'a comparison with the snapshot once controllers are at rest',
  ]
}

/** Whatever went wrong, the cluster is neither in the old nor in the saved state. */
function asFailure({ cluster, name }: Snapshot, thrown: unknown): unknown {
  if (isMayflyError(thrown) && ['ROLLBACK_FAILED', 'WAIT_ABORTED', 'CONFIG_INVALID'].includes(thrown.code)) {
    return thrown
  }
  return new MayflyError(
    'ROLLBACK_FAILED',
    `Cluster ${cluster} can't be taken back to snapshot "${name}": ${messageOf(thrown)}`,
    { hint: 'Delete the cluster and create a new one', cause: thrown },
  )
}
