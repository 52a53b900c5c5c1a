import { type Engine, saveImages } from '../engine/index.ts'
import { isMayflyError, type MayflyError } from '../errors.ts'
import { openArchive } from './archive.ts'
import { registerImages } from './nodes.ts'
import type { Recipient } from './receiver.ts'
import type { WantedImage } from './sources.ts'
import { type ImageStream, type Streamed, streamImages } from './stream.ts'

/** How {@link deliverImages} goes about it. */
export interface DeliverOptions {
  signal?: AbortSignal | undefined
  /** Gets how many bytes of layers have been streamed so far. */
  onProgress?: ((bytes: number) => void) | undefined
}

/** What was streamed, and to whom it did not get. */
export type Delivered = Pick<Streamed, 'sent' | 'failures'>

/**
 * Streams images to nodes that lack them: from each archive, and from the engine for each platform, one stream. Of nodes
 * that share a volume for layers one takes the stream, and the others link to what it unpacked.
 *
 * @throws MayflyError what {@link streamImages} throws
 */
export async function deliverImages(
  engine: Engine,
  recipients: readonly Recipient[],
  { signal, onProgress }: DeliverOptions = {},
): Promise<Delivered> {
  const delivered: Delivered = { sent: new Map(), failures: new Map() }
  let streamed = 0
  const stream = async (batch: Recipient[]): Promise<Streamed['shared']> => {
    if (batch.length === 0) return new Map()
    const { sent, failures, shared } = await streamImages(engine, {
      ...sourceOf(engine, batch, signal),
      recipients: batch,
      signal,
      onProgress: (bytes) => {
        streamed += bytes
        onProgress?.(streamed)
      },
    })
    for (const [diffID, bytes] of sent) delivered.sent.set(diffID, bytes)
    for (const [node, failure] of failures) note(delivered, node, failure)
    return shared
  }
  for (const batch of batches(recipients)) {
    const takers = onePerVolume(batch)
    const shared = await stream(takers)
    const others = batch.filter((recipient) => !takers.includes(recipient))
    const left = await Promise.all(
      others.map(async (recipient) => {
        const taker = takers.find(({ node }) => node.layersVolume === recipient.node.layersVolume)
        const images = shared.get(taker?.node.name ?? '')
        try {
          return taker && images ? await follow(engine, recipient, { taker, images, signal }) : recipient
        } catch (thrown) {
          if (!isMayflyError(thrown) || thrown.code === 'WAIT_ABORTED') throw thrown
          note(delivered, recipient.node.name, thrown)
          return { ...recipient, images: [] }
        }
      }),
    )
    // What could not be linked to, as that node failed or has a layer that others don't see.
    await stream(left.filter(({ images }) => images.length > 0))
  }
  return delivered
}

/** The first failure of a node is the one to tell. */
function note({ failures }: Delivered, node: string, failure: MayflyError): void {
  if (!failures.has(node)) failures.set(node, failure)
}

/** What can travel in one stream: an archive, or all of the engine's images for one platform. */
function batches(recipients: readonly Recipient[]): Recipient[][] {
  const keyOf = ({ from, platform }: WantedImage) =>
    from.kind === 'archive' ? from.file : `engine ${platform}`
  const keys = new Set(recipients.flatMap(({ images }) => images.map(keyOf)))
  return [...keys].map((key) =>
    recipients
      .map((recipient) => ({
        ...recipient,
        images: recipient.images.filter((image) => keyOf(image) === key),
      }))
      .filter(({ images }) => images.length > 0),
  )
}

function sourceOf(
  engine: Engine,
  batch: readonly Recipient[],
  signal: AbortSignal | undefined,
): Pick<ImageStream, 'name' | 'open' | 'platform'> {
  const images = [...new Set(batch.flatMap(({ images }) => images))]
  const [first] = images
  const platform = first?.platform ?? ''
  if (first?.from.kind === 'archive') {
    const { file } = first.from
    return { name: file, open: async () => openArchive(file), platform }
  }
  const references = images.flatMap(({ from }) => (from.kind === 'engine' ? [from.reference] : []))
  return {
    name: engine.describe(),
    open: () => saveImages(engine, references, { platform, signal }),
    platform,
  }
}

/** Those who take the stream: of each volume's nodes the one that has the most layers already, and all without one. */
function onePerVolume(recipients: readonly Recipient[]): Recipient[] {
  const groups = Map.groupBy(recipients, ({ node, presence }) =>
    presence.ours && node.layersVolume !== undefined ? node.layersVolume : node,
  )
  return [...groups.values()].flatMap((group) =>
    group.reduce((most, one) => (one.presence.have.size > most.presence.have.size ? one : most)),
  )
}

/**
 * Lets a node link to what another one unpacked.
 *
 * @returns The node with the images that it still lacks
 */
async function follow(
  engine: Engine,
  recipient: Recipient,
  { taker, images, signal }: { taker: Recipient; images: object[]; signal: AbortSignal | undefined },
): Promise<Recipient> {
  const linkable = recipient.images.filter((image) => taker.images.includes(image))
  const shared = linkable.map((image) => images[taker.images.indexOf(image)] ?? {})
  const registrations = await registerImages(engine, recipient.node, linkable, signal, shared)
  const linked = linkable.filter((_, at) => (registrations?.[at]?.state ?? 'failed') !== 'failed')
  return { ...recipient, images: recipient.images.filter((image) => !linked.includes(image)) }
}
