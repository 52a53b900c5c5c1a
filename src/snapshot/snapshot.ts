import type { NodeSpec } from '../config/index.ts'
import { type Engine, putFiles, readFile } from '../engine/index.ts'
import { MayflyError } from '../errors.ts'

/** Raised when what a snapshot's folder holds changes. */
export const snapshotDocumentVersion = 1

/**
 * A saved state of one cluster: plain data, which may be sent to another process. The state itself is on the cluster's
 * control-plane nodes and goes with the cluster.
 *
 * @public
 */
export interface Snapshot {
  /** Version of this document: 1. */
  readonly version: typeof snapshotDocumentVersion
  readonly name: string
  /** Name of the cluster. */
  readonly cluster: string
  /** ISO time. */
  readonly takenAt: string
  /** The nodes that the cluster had. */
  readonly nodes: readonly NodeSpec[]
  /** How many keys of etcd it holds. */
  readonly keys: number
  /** Their size in bytes. */
  readonly bytes: number
  /** False when controllers were still at work on it: a roll-back to it then leads to what they made of it. */
  readonly settled: boolean
}

/** Folder of a snapshot on every node. */
export function folderOf(name: string): string {
  return `/mayfly/snapshots/${name}`
}

/** Beside the folders: the snapshot that was taken last. */
const latestFile = '/mayfly/snapshots/latest.json'

const documentOf = (name: string) => `${folderOf(name)}/snapshot.json`

/** Writes the document of a snapshot to control-plane nodes; last of all, for it says that the rest is there. */
export async function writeSnapshot(
  engine: Engine,
  controlPlanes: readonly string[],
  snapshot: Snapshot,
): Promise<void> {
  const content = JSON.stringify(snapshot)
  const files = [documentOf(snapshot.name), latestFile].map((path) => ({ path, content, mode: 0o600 }))
  await Promise.all(controlPlanes.map((node) => putFiles(engine, node, files)))
}

/**
 * The snapshot of a cluster with a name.
 *
 * @param controlPlane A control-plane node, running or not
 * @throws MayflyError `SNAPSHOT_NOT_FOUND`
 */
export async function snapshotNamed(engine: Engine, controlPlane: string, name: string): Promise<Snapshot> {
  const found = await readSnapshot(engine, controlPlane, documentOf(name))
  if (found) return found
  throw new MayflyError('SNAPSHOT_NOT_FOUND', `Node ${controlPlane} has no snapshot "${name}"`, {
    hint: 'Take it with `cluster.snapshot(name)` before the state changes',
  })
}

/**
 * The snapshot that was taken last.
 *
 * @param controlPlane A control-plane node, running or not
 * @throws MayflyError `SNAPSHOT_NOT_FOUND`
 */
export async function latestSnapshot(engine: Engine, controlPlane: string): Promise<Snapshot> {
  const found = await readSnapshot(engine, controlPlane, latestFile)
  if (found) return found
  throw new MayflyError('SNAPSHOT_NOT_FOUND', `Node ${controlPlane} has no snapshot`, {
    hint: 'Take one with `cluster.snapshot()` before the state changes',
  })
}

async function readSnapshot(
  engine: Engine,
  controlPlane: string,
  path: string,
): Promise<Snapshot | undefined> {
  const content = await readFile(engine, controlPlane, path)
  if (!content) return undefined
  const snapshot = JSON.parse(String(content)) as Snapshot
  return snapshot.version === snapshotDocumentVersion ? snapshot : undefined
}
