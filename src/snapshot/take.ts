import { randomBytes } from 'node:crypto'
import { type ClusterPlan, controlPlaneNames } from '../boot/index.ts'
import { type Engine, execOrThrow, putFiles, readFile } from '../engine/index.ts'
import { MayflyError } from '../errors.ts'
import type { Kube } from '../kube/index.ts'
import { captureObjects, keepCapture } from './capture.ts'
import { startEarly } from './early-program.ts'
import { folderOf, type Snapshot, snapshotDocumentVersion, writeSnapshot } from './snapshot.ts'

/** The cluster that a snapshot is taken of. */
export interface SnapshotTarget {
  engine: Engine
  plan: ClusterPlan
  kube: Kube
}

/**
 * How a snapshot is taken.
 *
 * @public
 */
export interface SnapshotOptions {
  /** Takes the state as it is when controllers are still at work after so many milliseconds; default 10 000. */
  timeoutMs?: number
  signal?: AbortSignal | undefined
  /** Keeps every object as the API shows it as well, for a roll-back with `verify: 'full'`; default false. */
  objects?: boolean
}

/** A state counts as settled when nothing has changed for so many milliseconds. */
const quietMs = 250

/** What a node answers; its twin is in node-image/mayfly-node/internal/rollback/take.go. */
interface Taken {
  keys: number
  bytes: number
  settled: boolean
}

/**
 * Saves the state of a cluster on its nodes, as soon as its controllers have nothing more to do.
 *
 * @param name Letters, digits, `.`, `-` and `_`; default: one of its own. An older one of that name is replaced
 * @throws MayflyError `CONFIG_INVALID` for such a name, `EXEC_FAILED`, `ENGINE_REFUSED`
 */
export async function takeSnapshot(
  { engine, plan, kube }: SnapshotTarget,
  name = `snapshot-${randomBytes(4).toString('hex')}`,
  { timeoutMs = 10_000, signal, objects = false }: SnapshotOptions = {},
): Promise<Snapshot> {
  if (!/^[A-Za-z0-9][\w.-]{0,62}$/.test(name)) {
    throw new MayflyError('CONFIG_INVALID', `"${name}" is no name for a snapshot`, {
      hint: 'Use up to 63 letters, digits, ".", "-" and "_", and begin with a letter or digit',
    })
  }
  const controlPlanes = controlPlaneNames(plan)
  const [first = ''] = controlPlanes
  const take = async (node: string): Promise<Taken> => {
    const request = { dir: folderOf(name), state: node === first, quietMs, timeoutMs }
    const argv = ['mayfly-node', 'snapshot-take']
    const answer = await execOrThrow(engine, node, argv, { stdin: JSON.stringify(request), signal })
    return JSON.parse(answer) as Taken
  }
  const nodes = plan.nodes.map(({ spec }) => spec.name)
  const [taken] = await Promise.all([take(first), ...nodes.filter((node) => node !== first).map(take)])
  await copyState(engine, name, first, controlPlanes.slice(1))
  const { keys, bytes, settled } = taken
  const snapshot: Snapshot = {
    version: snapshotDocumentVersion,
    name,
    cluster: plan.spec.name,
    takenAt: new Date().toISOString(),
    nodes: plan.nodes.map(({ spec }) => spec),
    keys,
    bytes,
    settled,
  }
  await writeSnapshot(engine, controlPlanes, snapshot)
  startEarly(engine, first)
  if (objects) keepCapture(snapshot, await captureObjects(kube, signal))
  return snapshot
}

/** Each control plane can be taken away by a test; the state must not go with it. */
async function copyState(
  engine: Engine,
  name: string,
  from: string,
  others: readonly string[],
): Promise<void> {
  if (others.length === 0) return
  const path = `${folderOf(name)}/state`
  const content = await readFile(engine, from, path)
  if (!content) throw new MayflyError('EXEC_FAILED', `Node ${from} has no ${path}`)
  await Promise.all(others.map((node) => putFiles(engine, node, [{ path, content, mode: 0o600 }])))
}
