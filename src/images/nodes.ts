import { randomUUID } from 'node:crypto'
import { type Engine, exec, execStream, type RunningExec } from '../engine/index.ts'
import { until } from '../wait.ts'
import { askNode } from './conversation.ts'
import { databaseMount, layerRecordsMount, layersMount, storeKind } from './engine-store.ts'
import { loadFailed, type NodeView } from './node-view.ts'
import type { WantedImage } from './sources.ts'

/** What a node said of the images. */
export interface Presence {
  /** One for each image that was asked for. */
  present: boolean[]
  /** Digests of layers that need not be sent. */
  have: Set<string>
  /** Names of archive entries that need not be sent: their layers came under these names before. */
  entries: Set<string>
  /** Whether `mayfly-node` answered, or only `ctr` can be used. */
  ours: boolean
}

/**
 * An image that a node imported, for others that see the same layers: `Image` of
 * node-image/mayfly-node/internal/images/store.go. Only to be passed on.
 */
export type SharedImage = object

/** What became of an image that a node was to link to. */
export interface Registration {
  state: 'present' | 'registered' | 'failed'
  reason?: string
}

const program = 'mayfly-node'
/** How `ctr` is called for what the kubelet sees. */
export const ctr = ['ctr', '--namespace', 'k8s.io']
const containerdDeadlineMs = 60_000
const collectDeadlineMs = 30_000

/** Asks a node which images it has, in one round trip. An image that only lacks a name there is given it. */
export async function askPresence(
  engine: Engine,
  node: NodeView,
  images: readonly WantedImage[],
  signal: AbortSignal | undefined,
): Promise<Presence> {
  if (images.length === 0) return { present: [], have: new Set(), entries: new Set(), ours: true }
  const request = { images: images.map(({ names, ids, diffIDs }) => ({ names, ids, diffIDs })) }
  const answer = await askNode<{
    images: { present: boolean; have: string[] }[]
    entries: Record<string, string>
  }>(engine, node, { present: request }, signal)
  if (!answer) return askCtr(engine, node, images, signal)
  return {
    present: answer.images.map(({ present }) => present),
    have: new Set(answer.images.flatMap(({ have }) => have)),
    entries: new Set(Object.keys(answer.entries)),
    ours: true,
  }
}

/**
 * Lets a node link to images of the engine's store, or to ones that another node imported, in one round trip that is
 * also the question whether it has them.
 *
 * @param shared What the other node told, in the order of `images`
 * @returns `undefined` when the node has no `mayfly-node` that can
 */
export async function registerImages(
  engine: Engine,
  node: NodeView,
  images: readonly WantedImage[],
  signal: AbortSignal | undefined,
  shared: readonly SharedImage[] = [],
): Promise<Registration[] | undefined> {
  const request = {
    store: storeKind(engine),
    layers: layersMount,
    database: databaseMount,
    layerRecords: layerRecordsMount,
    namespace: engine.containerdNamespace,
    images: images.map(({ names, ids, diffIDs }, at) => ({
      ...{ names, ids, diffIDs },
      ...(shared[at] ? { shared: shared[at] } : { id: ids[0] }),
    })),
  }
  const answer = await askNode<{ images: Registration[] }>(engine, node, { register: request }, signal)
  return answer?.images
}

/** Starts the import of a stream into a node; it ends when the stream does. */
export async function startImport(
  engine: Engine,
  node: NodeView,
  { ours, platform }: { ours: boolean; platform: string },
): Promise<RunningExec> {
  const argv = ours ? [program, 'images-import'] : [...ctr, ...(await ctrImport(engine, node, platform))]
  return execStream(engine, node.containerId, argv)
}

/** Gives images that `ctr` imported the names that were not in the archive. */
export async function nameImages(
  engine: Engine,
  node: NodeView,
  images: readonly WantedImage[],
  signal: AbortSignal | undefined,
): Promise<void> {
  const { present } = await askCtr(engine, node, images, signal)
  const unknown = images.find((_, at) => !present[at])
  if (unknown) throw loadFailed(node, `\`ctr images import\` succeeded, and "${unknown.label}" is not there`)
}

/**
 * Removes what an import by `ctr` that failed left. containerd does that only after many more changes, or when a lease
 * is deleted in a way that waits for it.
 */
export async function collectLeftovers(engine: Engine, { containerId }: NodeView): Promise<void> {
  const lease = `mayfly-${randomUUID()}`
  const limits = { timeoutMs: collectDeadlineMs }
  // A node that is gone has nothing left, and the failure that led here is what counts.
  const { exitCode } = await exec(
    engine,
    containerId,
    [...ctr, 'leases', 'create', '--id', lease],
    limits,
  ).catch(() => ({ exitCode: 1 }))
  if (exitCode !== 0) return
  await exec(engine, containerId, [...ctr, 'leases', 'delete', '--sync', lease], limits).catch(
    () => undefined,
  )
}

interface CtrImage {
  name: string
  target: string
}

/** Presence by `ctr` alone, for nodes of other node images. Every image is listed there under its id as well. */
async function askCtr(
  engine: Engine,
  node: NodeView,
  images: readonly WantedImage[],
  signal: AbortSignal | undefined,
): Promise<Presence> {
  const listing = await until(
    `containerd in node "${node.name}"`,
    async (limit, report) => {
      const result = await exec(engine, node.containerId, [...ctr, 'images', 'ls'], { signal: limit })
      report(result.stderr || result.stdout)
      return result.exitCode === 0 ? result.stdout : undefined
    },
    { timeoutMs: containerdDeadlineMs, intervalMs: 200, signal },
  )
  const listed = parseCtrImages(listing)
  const present: boolean[] = []
  for (const { ids, names } of images) {
    const known = listed.find(({ name, target }) => ids.includes(name) || ids.includes(target))
    present.push(known !== undefined)
    if (!known) continue
    for (const name of names) {
      if (listed.some((image) => image.name === name && image.target === known.target)) continue
      const argv = [...ctr, 'images', 'tag', '--force', known.name, name]
      const { exitCode, stdout, stderr } = await exec(engine, node.containerId, argv, { signal })
      if (exitCode !== 0) throw loadFailed(node, `it can't be named ${name}`, { output: stderr || stdout })
    }
  }
  return { present, have: new Set(), entries: new Set(), ours: false }
}

/** Reads the table of `ctr images ls`: reference, media type, digest, and columns that don't matter here. */
export function parseCtrImages(table: string): CtrImage[] {
  return table
    .split('\n')
    .slice(1)
    .map((line) => line.split(/\s+/))
    .flatMap(([name, , target]) => (name && target ? [{ name, target }] : []))
}

/** `--local` skips containerd's transfer service, which takes twice as long; only containerd 2 has the choice. */
async function ctrImport(engine: Engine, node: NodeView, platform: string): Promise<string[]> {
  const { stdout } = await exec(engine, node.containerId, [...ctr, 'images', 'import', '--help'])
  const local = /^\s*--local\b/m.test(stdout) ? ['--local'] : []
  return ['images', 'import', ...local, '--platform', platform, '-']
}
