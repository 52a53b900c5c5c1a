/** The images room: gets the images under test onto every node. */
import type { Engine } from '../engine/index.ts'
import { MayflyError } from '../errors.ts'
import { deliverImages } from './deliver.ts'
import { linkableImages, linkImages, whyNotLinked } from './link.ts'
import { type ImageNode, loadFailed, type NodeView, viewNode } from './node-view.ts'
import { askPresence } from './nodes.ts'
import type { Recipient } from './receiver.ts'
import { type LoadedImage, type LoadProgress, reportOn } from './report.ts'
import { type ImageSource, resolveSources } from './sources.ts'

export type { ImageBuild } from './build.ts'
export { engineStoreMounts } from './engine-store.ts'
export { holdRole } from './hold.ts'
export { imagesOfNode, type NodeImage } from './loaded.ts'
export type { ImageNode } from './node-view.ts'
export { explainPullPolicy } from './pull-policy.ts'
export { nodeReference } from './reference.ts'
export type { LoadedImage, NodeLoad } from './report.ts'
export { createLayersVolume, layersVolume, sharedLayersMounts } from './shared-layers.ts'
export { checkSources, type EngineImage, type ImageArchive, type ImageSource } from './sources.ts'

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
  const [wanted, views] = await Promise.all([
    resolveSources(engine, sources, signal),
    eachNode(nodes, failures, (node) => viewNode(engine, node, signal)),
  ])
  const images: LoadProgress = new Map(
    wanted.map((image) => {
      const reason = strategy === 'stream' ? 'asked for' : whyNotLinked(engine, image)
      return [image, { nodes: new Map(), reason }]
    }),
  )
  const linkable = linkableImages(images)
  const holds = new Map()
  const recipients = await eachNode(views, failures, async (view) => {
    const recipient = await askForImages(engine, view, images, signal)
    return linkImages(engine, recipient, linkable, { images, holds, signal })
  })
  const lacking = recipients.filter(({ images }) => images.length > 0)
  if (strategy === 'zero-copy') assertLinked(lacking, images)
  const { sent, failures: undelivered } = await deliverImages(engine, lacking, { signal, onProgress })
  for (const [node, failure] of undelivered) if (!failures.has(node)) failures.set(node, failure)
  for (const { node, images: brought } of lacking) {
    for (const image of brought) images.get(image)?.nodes.set(node.name, 'loaded')
  }
  if (failures.size > 0) throw summarize(failures, nodes)
  return {
    images: [...images].map(([image, progress]) => reportOn(image, progress, sent)),
    bytes: [...sent.values()].reduce((total, bytes) => total + bytes, 0),
    ms: performance.now() - started,
  }
}

/** Asks a node which images it lacks. */
async function askForImages(
  engine: Engine,
  node: NodeView,
  images: LoadProgress,
  signal: AbortSignal | undefined,
): Promise<Recipient> {
  const wanted = [...images.keys()]
  const presence = await askPresence(engine, node, wanted, signal)
  const lacking = wanted.filter((_, at) => !presence.present[at])
  for (const [image, { nodes }] of images) if (!lacking.includes(image)) nodes.set(node.name, 'present')
  return { node, presence, images: lacking }
}

function assertLinked([first]: readonly Recipient[], images: LoadProgress): void {
  const [image] = first?.images ?? []
  if (!image) return
  const why = images.get(image)?.reason
  throw new MayflyError('IMAGE_LOAD_FAILED', `Can't load ${image.label} without a copy: ${why}`)
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
