import { type Engine, engineStatus } from '../engine/index.ts'
import { messageOf } from '../errors.ts'
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
 * Holds the images that nodes may link to; one that can't be held gets that as the reason to be streamed.
 *
 * @param node Any node that sees the engine's store
 */
export async function holdImages(
  engine: Engine,
  images: LoadProgress,
  node: NodeView,
  signal: AbortSignal | undefined,
): Promise<Hold[]> {
  const labels = ownLabels(node.labels)
  const holds = [...images].map(async ([image, progress]) => {
    if (progress.reason || image.from.kind !== 'engine') return []
    try {
      return [await holdImage(engine, image.from, { labels, nodeImageId: node.imageId, signal })]
    } catch (thrown) {
      if (engineStatus(thrown) === undefined) throw thrown
      progress.reason = `the engine does not hold it: ${messageOf(thrown)}`
      return []
    }
  })
  return (await Promise.all(holds)).flat()
}

/**
 * Lets a node link to the images that no reason speaks against, and notes what became of each; one that the node can't
 * link to gets the reason.
 *
 * @throws MayflyError `IMAGE_LOAD_FAILED` when the node does not answer
 */
export async function linkImages(
  engine: Engine,
  node: NodeView,
  images: LoadProgress,
  signal: AbortSignal | undefined,
): Promise<void> {
  const linkable = [...images].filter(([, { reason }]) => !reason)
  if (linkable.length === 0 || !node.seesEngineStore) return
  const wanted = linkable.map(([image]) => image)
  const registrations = await registerImages(engine, node, wanted, signal)
  for (const [at, [, progress]] of linkable.entries()) {
    const { state, reason = `node "${node.name}" has no mayfly-node that can link to images` } =
      registrations?.[at] ?? {}
    if (state === 'present') progress.nodes.set(node.name, 'present')
    else if (state === 'registered') progress.nodes.set(node.name, 'zero-copy')
    else progress.reason = reason
  }
}

/** The labels that say whose a node is, without what is said of the node image. */
function ownLabels(labels: Labels): Labels {
  const own: string[] = Object.values(label)
  return Object.fromEntries(Object.entries(labels).filter(([name]) => own.includes(name)))
}
