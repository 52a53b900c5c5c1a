import { randomUUID } from 'node:crypto'
import { text } from 'node:stream/consumers'
import {
  type Engine,
  engineStatus,
  exec,
  execStream,
  inspectContainer,
  type RunningExec,
} from '../engine/index.ts'
import { MayflyError } from '../errors.ts'
import { until } from '../wait.ts'
import { databaseMount, layersMount } from './engine-store.ts'
import { sharedLayersMount } from './shared-layers.ts'
import type { WantedImage } from './sources.ts'

/** A node that images go to. */
export interface ImageNode {
  name: string
  containerId: string
}

/** What is known of a node before it is asked. */
export interface NodeView extends ImageNode {
  labels: Record<string, string>
  /** Id of the image that its container runs. */
  imageId: string
  /** It sees the engine's own layers. */
  seesEngineStore: boolean
  /** The volume for layers that it shares with others, if any. */
  layersVolume: string | undefined
}

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

/**
 * Looks at a node's container.
 *
 * @throws MayflyError `IMAGE_LOAD_FAILED` when it is not there or does not run
 */
export async function viewNode(
  engine: Engine,
  node: ImageNode,
  signal: AbortSignal | undefined,
): Promise<NodeView> {
  const inspected = await inspectContainer(engine, node.containerId, { signal }).catch((thrown: unknown) => {
    if (engineStatus(thrown) === 404) throw loadFailed(node, 'its container is gone', { cause: thrown })
    throw thrown
  })
  if (!inspected.State.Running || inspected.State.Paused) {
    throw loadFailed(node, `its container is ${inspected.State.Status}`)
  }
  const targets = inspected.Mounts.map(({ Destination }) => Destination)
  return {
    ...node,
    labels: inspected.Config.Labels ?? {},
    imageId: inspected.Image,
    seesEngineStore: targets.includes(layersMount) && targets.includes(databaseMount),
    layersVolume: inspected.Mounts.find(({ Destination }) => Destination === sharedLayersMount)?.Name,
  }
}

/** Asks a node which images it has, in one round trip. An image that only lacks a name there is given it. */
export async function askPresence(
  engine: Engine,
  node: NodeView,
  images: readonly WantedImage[],
  signal: AbortSignal | undefined,
): Promise<Presence> {
  if (images.length === 0) return { present: [], have: new Set(), entries: new Set(), ours: true }
  const request = { images: images.map(({ names, ids, diffIDs }) => ({ names, ids, diffIDs })) }
  const answer = await askProgram<{
    images: { present: boolean; have: string[] }[]
    entries: Record<string, string>
  }>(engine, node, 'images-present', request, signal)
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
    layers: layersMount,
    database: databaseMount,
    images: images.map(({ names, ids, diffIDs }, at) => ({
      ...{ names, ids, diffIDs },
      ...(shared[at] ? { shared: shared[at] } : { id: ids[0] }),
    })),
  }
  const answer = await askProgram<{ images: Registration[] }>(
    engine,
    node,
    'images-register',
    request,
    signal,
  )
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

/** The error for a node that an image could not be loaded into. */
export function loadFailed(
  { name }: ImageNode,
  why: string,
  parts: { output?: string; cause?: unknown } = {},
): MayflyError {
  const { output = '' } = parts
  const hint = /no space left on device/i.test(output)
    ? "the node's disk is full: remove images and volumes that are not needed, e.g. with `docker system prune`"
    : undefined
  return new MayflyError('IMAGE_LOAD_FAILED', `Can't load images into node "${name}": ${why}`, {
    ...parts,
    ...(hint && { hint }),
  })
}

/**
 * Asks a program that answers with one line of JSON. The line is the answer: the engine takes a while more to tell that
 * the program has ended.
 *
 * @returns `undefined` when the node has no such program, or an older one
 */
async function askProgram<T>(
  engine: Engine,
  node: NodeView,
  subcommand: string,
  request: object,
  signal: AbortSignal | undefined,
): Promise<T | undefined> {
  try {
    const running = await execStream(engine, node.containerId, [program, subcommand], { signal })
    running.stdin.end(JSON.stringify(request))
    const stderr = text(running.stderr)
    stderr.catch(() => undefined)
    let stdout = ''
    for await (const chunk of running.stdout.setEncoding('utf8')) {
      stdout += chunk
      if (/^\{.*\n$/s.test(stdout)) return JSON.parse(stdout) as T
    }
    const exitCode = await running.exited
    const output = (await stderr) || stdout
    if (/unknown subcommand/.test(output)) return undefined
    if ([126, 127].includes(exitCode) && /not found|no such file/i.test(output)) return undefined
    throw loadFailed(node, `\`${program} ${subcommand}\` ended with exit code ${exitCode}`, { output })
  } catch (thrown) {
    // Engines tell that a program is missing by an exit code, or by refusing the request.
    if (engineStatus(thrown) === undefined) throw thrown
    if (/executable file.*not found|no such file or directory/i.test(String(thrown))) return undefined
    throw loadFailed(node, 'its container takes no commands', { cause: thrown })
  }
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
