import type { Engine } from '../engine/index.ts'
import { type Labels, label } from '../reaper/index.ts'
import { engineStoreMounts } from './engine-store.ts'
import { type Hold, holdImage } from './hold.ts'
import { type NodeView, registerImages } from './nodes.ts'
import type { LoadProgress } from './report.ts'
import type { WantedImage } from './sources.ts'

/** Why an image can't be linked to, whatever the node; `undefined` when it can. */
export function whyNotLinked(engine: Engine, { from }: WantedImage): string | undefined {
  if (from.kind === 'archive') return 'it comes from an archive'
  const { why } = engineStoreMounts(engine)
  if (why) return why
  return from.graphDriver === 'overlay2' ? undefined : 'the engine does not tell its layer directories'
}

/**
 * Begins to hold the images that nodes may link to.
 *
 * @param node Any node that sees the engine's store
 */
export function holdImages(
  engine: Engine,
  images: LoadProgress,
  node: NodeView,
  signal: AbortSignal | undefined,
): Map<WantedImage, Hold> {
  const options = { labels: ownLabels(node.labels), nodeImageId: node.imageId, signal }
  const holds = new Map<WantedImage, Hold>()
  for (const [image, { reason }] of images) {
    if (!reason && image.from.kind === 'engine') holds.set(image, holdImage(engine, image.from, options))
  }
  return holds
}

/**
 * Lets a node link to the images that no reason speaks against, and notes what became of each; one that the node can't
 * link to gets the reason.
 *
 * @param holds Those of images that a node links to are kept
 * @throws MayflyError `IMAGE_LOAD_FAILED` when the node does not answer
 */
export async function linkImages(
  engine: Engine,
  node: NodeView,
  images: LoadProgress,
  { holds, signal }: { holds: ReadonlyMap<WantedImage, Hold>; signal: AbortSignal | undefined },
): Promise<void> {
  const linkable = [...images].filter(([, { reason }]) => !reason)
  if (linkable.length === 0 || !node.seesEngineStore) return
  const wanted = linkable.map(([image]) => image)
  const registrations = await registerImages(engine, node, wanted, signal)
  const linked = linkable.map(async ([image, progress], at) => {
    const { state, reason = `node "${node.name}" has no mayfly-node that can link to images` } =
      registrations?.[at] ?? {}
    if (state === 'present') progress.nodes.set(node.name, 'present')
    else if (state === 'registered') {
      progress.nodes.set(node.name, 'zero-copy')
      progress.unheld = await holds.get(image)?.keep()
    } else progress.reason = reason
  })
  await Promise.all(linked)
}

/** The labels that say whose a node is, without what is said of the node image. */
function ownLabels(labels: Labels): Labels {
  const own: string[] = Object.values(label)
  return Object.fromEntries(Object.entries(labels).filter(([name]) => own.includes(name)))
}
