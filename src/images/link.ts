import type { Engine } from '../engine/index.ts'
import { type Labels, label } from '../reaper/index.ts'
import { storeKind, whyNotShared } from './engine-store.ts'
import { type Hold, holdImage } from './hold.ts'
import type { NodeView } from './node-view.ts'
import { registerImages } from './nodes.ts'
import type { Recipient } from './receiver.ts'
import type { LoadProgress } from './report.ts'
import type { EngineOrigin, WantedImage } from './sources.ts'

/** An image of the engine's, not of an archive. */
type LinkableImage = WantedImage & { from: EngineOrigin }

/** Why an image can't be linked to, whatever the node; `undefined` when it can. */
export function whyNotLinked(engine: Engine, { from }: WantedImage): string | undefined {
  if (from.kind === 'archive') return 'it comes from an archive'
  const why = whyNotShared(engine)
  if (why) return why
  return from.graphDriver === engine.storageDriver || storeKind(engine) === 'containerd'
    ? undefined
    : 'the engine does not tell its layer directories'
}

/** The images that no reason speaks against linking to. */
export function linkableImages(images: LoadProgress): LinkableImage[] {
  const isOfEngine = (image: WantedImage): image is LinkableImage => image.from.kind === 'engine'
  return [...images].flatMap(([image, { reason }]) => (!reason && isOfEngine(image) ? [image] : []))
}

/** What {@link linkImages} goes by. */
export interface LinkOptions {
  /** Gets what became of each image. */
  images: LoadProgress
  /** The images that are held already; all nodes have the same. */
  holds: Map<WantedImage, Hold>
  signal: AbortSignal | undefined
}

/**
 * Lets a node link to those images that it lacks; one that it can't link to gets the reason.
 *
 * @returns The node with the images that it still lacks
 * @throws MayflyError `IMAGE_LOAD_FAILED` when the node does not answer; `ENGINE_REFUSED` when an image can't be held
 */
export async function linkImages(
  engine: Engine,
  recipient: Recipient,
  linkable: readonly LinkableImage[],
  { images, holds, signal }: LinkOptions,
): Promise<Recipient> {
  const { node } = recipient
  const wanted = linkable.filter((image) => recipient.images.includes(image))
  if (wanted.length === 0) return recipient
  const held = node.seesEngineStore ? wanted.map((image) => hold(engine, image, node, { holds, signal })) : []
  const registrations = node.seesEngineStore ? await registerImages(engine, node, wanted, signal) : undefined
  const linked = new Set<WantedImage>()
  for (const [at, image] of wanted.entries()) {
    const { state, reason } = registrations?.[at] ?? { state: 'failed', reason: whyNodeCanNot(node) }
    if (state === 'failed') note(images, image, reason)
    else {
      linked.add(image)
      images.get(image)?.nodes.set(node.name, state === 'present' ? 'present' : 'zero-copy')
      if (state === 'registered') held[at]?.run()
    }
  }
  await Promise.all(held.map(({ made }) => made))
  return { ...recipient, images: recipient.images.filter((image) => !linked.has(image)) }
}

function whyNodeCanNot({ name, seesEngineStore }: NodeView): string {
  return seesEngineStore
    ? `node "${name}" has no mayfly-node that can link to images`
    : `node "${name}" does not see the engine's store`
}

function note(images: LoadProgress, image: WantedImage, reason: string | undefined): void {
  const progress = images.get(image)
  if (progress) progress.reason ??= reason
}

/** Holds an image from the first node on that lacks it. */
function hold(
  engine: Engine,
  image: LinkableImage,
  node: NodeView,
  { holds, signal }: Pick<LinkOptions, 'holds' | 'signal'>,
): Hold {
  const held =
    holds.get(image) ?? holdImage(engine, image.from, { labels: ownLabels(node.labels), node, signal })
  holds.set(image, held)
  return held
}

/** The labels that say whose a node is, without what is said of the node image. */
function ownLabels(labels: Labels): Labels {
  const own: string[] = Object.values(label)
  return Object.fromEntries(Object.entries(labels).filter(([name]) => own.includes(name)))
}
