/** The images room: gets the images under test onto every node. */
import { type Engine, saveImages } from '../engine/index.ts'
import { MayflyError } from '../errors.ts'
import { type Labels, label } from '../reaper/index.ts'
import { openArchive } from './archive.ts'
import { engineStoreMounts, holdImage } from './engine-store.ts'
import { askPresence, type ImageNode, loadFailed, type NodeView, registerImages, viewNode } from './nodes.ts'
import { type ImageSource, resolveSources, type WantedImage } from './sources.ts'
import { type Recipient, streamImages } from './stream.ts'

export type { ImageBuild } from './build.ts'
export { engineStoreMounts, type Hold, holdRole } from './engine-store.ts'
export type { ImageNode } from './nodes.ts'
export { explainPullPolicy } from './pull-policy.ts'
export { nodeReference } from './reference.ts'
export type { ImageArchive, ImageSource } from './sources.ts'

/** How images get onto nodes; `auto` is zero-copy where it can be, else by stream. */
export type LoadStrategy = 'auto' | 'stream' | 'zero-copy'

/** Options of {@link loadImages}. */
export interface LoadOptions {
  signal?: AbortSignal | undefined
  /** Gets how many bytes of layers have been streamed so far, of all images together. */
  onProgress?: ((bytes: number) => void) | undefined
  /** Default `auto`. */
  strategy?: LoadStrategy | undefined
}

/** What a node did about an image: it had it, it was streamed there, or it links to the engine's own layers. */
export type NodeLoad = 'present' | 'loaded' | 'zero-copy'

/** What became of one image. */
export interface LoadedImage {
  /** The sources that it came from, as they were written. */
  label: string
  /** The names under which nodes have it, in full: `docker.io/library/app:dev`. */
  names: string[]
  /** Node name → what it did. */
  nodes: Record<string, NodeLoad>
  /** Bytes of layers that were streamed for it; a layer of several images counts for each. */
  bytes: number
  /** One line for the log: which path was used, and why not a faster one. */
  summary: string
}

/** What {@link loadImages} did. */
export interface ImageLoadReport {
  images: LoadedImage[]
  /** Bytes of layers that were streamed, each counted once. */
  bytes: number
  ms: number
}

/**
 * Gets images onto nodes: all nodes are asked at once what they have, images of the engine are linked to where nodes see
 * its store, and one stream brings the rest to all nodes that lack it. May be called while nodes still boot; it waits
 * for their container runtime.
 *
 * A node that fails does not keep the others from getting the images, and its store is as it was.
 *
 * @throws MayflyError `IMAGE_NOT_FOUND`, `IMAGE_UNREADABLE`, `IMAGE_WRONG_PLATFORM` and `IMAGE_BUILD_FAILED` before any
 *   node is changed; `IMAGE_LOAD_FAILED` with every node that failed; `WAIT_ABORTED`
 */
export async function loadImages(
  engine: Engine,
  nodes: readonly ImageNode[],
  sources: readonly ImageSource[],
  { signal, onProgress, strategy = 'auto' }: LoadOptions = {},
): Promise<ImageLoadReport> {
  const started = performance.now()
  if (sources.length === 0 || nodes.length === 0) return { images: [], bytes: 0, ms: 0 }
  const failures = new Map<string, MayflyError>()
  const [images, views] = await Promise.all([
    resolveSources(engine, sources, signal),
    eachNode(nodes, failures, (node) => viewNode(engine, node, signal)),
  ])
  const progress = new Map(images.map((image) => [image, new Map<string, NodeLoad>()]))
  const reasons = new Map(images.map((image) => [image, whyStream(engine, image, strategy)]))

  const linkedImages: LinkedImages = { progress, reasons, holds: new Map() }
  const linkable = images.filter((image) => !reasons.get(image))
  const asked = await eachNode(views, failures, async (view) => {
    const linked = view.seesEngineStore ? await linkImages(engine, view, linkable, linkedImages, signal) : []
    const rest = images.filter((image) => !linked.includes(image))
    if (rest.length === 0) return undefined
    const presence = await askPresence(engine, view, rest, signal)
    for (const [at, image] of rest.entries()) {
      if (presence.present[at]) progress.get(image)?.set(view.name, 'present')
    }
    const missing = rest.filter((_, at) => !presence.present[at])
    for (const image of missing) {
      if (!reasons.get(image)) reasons.set(image, `node "${view.name}" does not see the engine's store`)
    }
    return { node: view, presence, images: missing }
  })
  const recipients = asked.filter((recipient) => recipient !== undefined && recipient.images.length > 0)
  if (strategy === 'zero-copy' && recipients.length > 0) {
    throw new MayflyError(
      'IMAGE_LOAD_FAILED',
      `Can't load ${recipients[0]?.images[0]?.label} without a copy: ${reasons.get(recipients[0]?.images[0] as WantedImage)}`,
    )
  }

  const sent = new Map<string, number>()
  let streamed = 0
  for (const batch of batches(recipients as Recipient[])) {
    const platform = batch.images[0]?.platform ?? ''
    const source = batch.file
      ? openArchive(batch.file)
      : await saveImages(
          engine,
          batch.images.map(({ from }) => (from.kind === 'engine' ? from.reference : from.file)),
          { platform, signal },
        )
    const result = await streamImages(engine, {
      name: batch.file ?? engine.describe(),
      source,
      platform,
      recipients: batch.recipients,
      signal,
      onProgress: (bytes) => {
        streamed += bytes
        onProgress?.(streamed)
      },
    })
    for (const [diffID, bytes] of result.sent) sent.set(diffID, bytes)
    for (const [node, failure] of result.failures) if (!failures.has(node)) failures.set(node, failure)
    for (const { node, images } of batch.recipients) {
      if (result.failures.has(node.name)) continue
      for (const image of images) progress.get(image)?.set(node.name, 'loaded')
    }
  }
  if (failures.size > 0) throw summarize(failures, nodes)
  return {
    images: await Promise.all(
      images.map(async (image) => {
        const unheld = await linkedImages.holds.get(image)
        return reportOn(image, { nodes: progress.get(image), reason: reasons.get(image), sent, unheld })
      }),
    ),
    bytes: [...sent.values()].reduce((total, bytes) => total + bytes, 0),
    ms: performance.now() - started,
  }
}

/** Why an image can't be linked to, whatever the node; `undefined` when it can. */
function whyStream(engine: Engine, { from }: WantedImage, strategy: LoadStrategy): string | undefined {
  if (strategy === 'stream') return 'asked for'
  if (from.kind === 'archive') return 'it comes from an archive'
  const { why } = engineStoreMounts(engine)
  if (why) return why
  return from.graphDriver === 'overlay2' ? undefined : 'the engine does not tell its layer directories'
}

/** What the nodes share while they link. */
interface LinkedImages {
  progress: Map<WantedImage, Map<string, NodeLoad>>
  reasons: Map<WantedImage, string | undefined>
  holds: Map<WantedImage, Promise<string | undefined>>
}

/** Lets one node link to images, and holds those in the engine. Returns the images that the node has now. */
async function linkImages(
  engine: Engine,
  view: NodeView,
  images: WantedImage[],
  { progress, reasons, holds }: LinkedImages,
  signal: AbortSignal | undefined,
): Promise<WantedImage[]> {
  if (images.length === 0) return []
  for (const image of images) {
    if (image.from.kind !== 'engine' || holds.has(image)) continue
    const hold = { labels: ownLabels(view.labels), nodeImageId: view.imageId, signal }
    holds.set(image, holdImage(engine, image.from, hold))
  }
  const [registrations] = await Promise.all([
    registerImages(engine, view, images, signal),
    ...images.map((image) => holds.get(image)),
  ])
  return images.filter((image, at) => {
    const registration = registrations?.[at]
    if (registration?.state === 'present') progress.get(image)?.set(view.name, 'present')
    else if (registration?.state === 'registered') progress.get(image)?.set(view.name, 'zero-copy')
    else {
      reasons.set(
        image,
        registration?.reason ?? `node "${view.name}" has no mayfly-node that can link to images`,
      )
      return false
    }
    return true
  })
}

/** The labels that say whose a node is, without what is said of the node image. */
function ownLabels(labels: Labels): Labels {
  const own: string[] = Object.values(label)
  return Object.fromEntries(Object.entries(labels).filter(([name]) => own.includes(name)))
}

async function eachNode<Node extends ImageNode, Result>(
  nodes: readonly Node[],
  failures: Map<string, MayflyError>,
  work: (node: Node) => Promise<Result>,
): Promise<Result[]> {
  const results = await Promise.all(
    nodes.map(async (node) => {
      try {
        return [await work(node)]
      } catch (thrown) {
        if (!(thrown instanceof MayflyError) || thrown.code === 'WAIT_ABORTED') throw thrown
        failures.set(
          node.name,
          thrown.code === 'IMAGE_LOAD_FAILED' ? thrown : loadFailed(node, thrown.message, { cause: thrown }),
        )
        return []
      }
    }),
  )
  return results.flat()
}

interface Batch {
  file?: string
  images: WantedImage[]
  recipients: Recipient[]
}

/** What can travel in one stream: an archive, or all of the engine's images for one platform. */
function batches(recipients: readonly Recipient[]): Batch[] {
  const found = new Map<string, Batch>()
  const keyOf = ({ from, platform }: WantedImage) =>
    from.kind === 'archive' ? from.file : `engine ${platform}`
  for (const image of new Set(recipients.flatMap(({ images }) => images))) {
    const batch = found.get(keyOf(image)) ?? {
      ...(image.from.kind === 'archive' && { file: image.from.file }),
      images: [],
      recipients: [],
    }
    batch.images.push(image)
    found.set(keyOf(image), batch)
  }
  for (const [key, batch] of found) {
    batch.recipients = recipients
      .map((recipient) => ({
        ...recipient,
        images: recipient.images.filter((image) => keyOf(image) === key),
      }))
      .filter(({ images }) => images.length > 0)
  }
  return [...found.values()]
}

function reportOn(
  { label, names, diffIDs }: WantedImage,
  {
    nodes = new Map(),
    reason,
    sent,
    unheld,
  }: {
    nodes: Map<string, NodeLoad> | undefined
    reason: string | undefined
    sent: Map<string, number>
    unheld: string | undefined
  },
): LoadedImage {
  const did = new Set(nodes.values())
  const bytes = did.has('loaded') ? diffIDs.reduce((total, diffID) => total + (sent.get(diffID) ?? 0), 0) : 0
  const parts = [
    ...(did.has('zero-copy') ? ["linked to the engine's own layers"] : []),
    ...(did.has('zero-copy') && unheld ? [`\`docker system prune\` would remove them (${unheld})`] : []),
    ...(did.has('loaded') ? [`streamed, ${(bytes / 1e6).toFixed(1)} MB (${reason})`] : []),
  ]
  return {
    label,
    names,
    nodes: Object.fromEntries(nodes),
    bytes,
    summary: `${label}: ${parts.join('; ') || 'already on every node'}`,
  }
}

function summarize(failures: Map<string, MayflyError>, nodes: readonly ImageNode[]): MayflyError {
  const all = nodes.flatMap(({ name }) => failures.get(name) ?? [])
  const [first] = all
  if (all.length === 1 && first) return first
  const cause = new AggregateError(all, 'every node that failed')
  return new MayflyError(
    'IMAGE_LOAD_FAILED',
    `Can't load images into ${all.length} of ${nodes.length} nodes`,
    {
      cause,
      output: all.map(({ message }) => message).join('\n'),
      ...(first?.hint && { hint: first.hint }),
    },
  )
}
