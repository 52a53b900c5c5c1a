import type { Readable } from 'node:stream'
import type { Header } from 'tar-stream'
import type { Engine } from '../engine/index.ts'
import type { MayflyError } from '../errors.ts'
import { type ArchivedImage, imagesOf, type PassingEntry, readArchive, unreadable } from './archive.ts'
import { collectLeftovers, type SharedImage } from './nodes.ts'
import {
  answersOf,
  asFailure,
  cutOff,
  finish,
  type Receiver,
  type Recipient,
  receive,
  room,
} from './receiver.ts'
import type { WantedImage } from './sources.ts'

/** One stream of images, from the engine or out of a file. */
export interface ImageStream {
  /** For messages: the archive's path, or the engine. */
  name: string
  /** Begins the stream; imports start meanwhile, as Docker writes a whole image to its disk before it sends the first byte. */
  open: () => Promise<Readable>
  platform: string
  recipients: Recipient[]
  signal?: AbortSignal | undefined
  /** Gets the bytes of layers that passed since the last call. */
  onProgress?: ((bytes: number) => void) | undefined
}

/** What went through. */
export interface Streamed {
  /** Size of each layer that at least one node took, by digest of the tar stream. */
  sent: Map<string, number>
  /** Nodes that got nothing, and why. All others have their images. */
  failures: Map<string, MayflyError>
  /** Node name → what it tells others of its images, in their order; not from nodes of other node images. */
  shared: Map<string, SharedImage[]>
}

/** Last entry of a stream for `mayfly-node images-import`; `internal/images/import.go` has the other end. */
const planEntry = 'mayfly.json'

/**
 * Fans one stream of images out to all nodes that lack some of it, at the pace of the slowest, and leaves out what a
 * node has. Nothing is buffered beyond what the streams themselves hold. A node that fails, or takes nothing for 60 s,
 * is left behind and the others go on.
 *
 * @throws MayflyError when the source breaks, is aborted or makes no sense; every node is then as it was
 */
export async function streamImages(
  engine: Engine,
  { name, open, platform, recipients, signal, onProgress }: ImageStream,
): Promise<Streamed> {
  const failures = new Map<string, MayflyError>()
  const opening = open()
  // Told below, once the nodes can be cut off.
  opening.catch(() => undefined)
  const started = await Promise.all(
    recipients.map((recipient) =>
      receive(engine, recipient, platform).catch((thrown: unknown) => {
        failures.set(recipient.node.name, asFailure(recipient.node, thrown))
      }),
    ),
  )
  const receivers = started.filter((receiver) => receiver !== undefined)
  const alive = () => receivers.filter(({ failure }) => !failure)
  const passed = new Map<string, number>()
  const onAbort = () => {
    for (const receiver of receivers) receiver.release?.()
  }
  signal?.addEventListener('abort', onAbort)
  try {
    const contents = await readArchive(await opening, name, async (entry) => {
      if (alive().length === 0) throw new NobodyLeft()
      const takers = alive().filter((receiver) => wants(receiver, entry))
      if (takers.length === 0) return
      if (entry.isLayer) passed.set(entry.header.name, entry.header.size)
      await pass(entry, takers, signal, entry.isLayer ? onProgress : undefined)
    })
    signal?.throwIfAborted()
    const images = imagesOf(contents, name, platform)
    for (const receiver of alive()) {
      const found = receiver.images.map((wanted) => ({ wanted, image: match(wanted, images, name) }))
      if (receiver.presence.ours) {
        receiver.tar.entry({ name: planEntry }, JSON.stringify({ images: found.map(planned) }))
      }
      receiver.tar.finalize()
    }
    await Promise.all(alive().map((receiver) => finish(engine, receiver, signal)))
    signal?.throwIfAborted()
    for (const { node, failure } of receivers) if (failure) failures.set(node.name, failure)
    return { sent: sizes(images, passed), failures, shared: await answersOf(alive()) }
  } catch (thrown) {
    await Promise.all(alive().map(cutOff))
    for (const { node, failure } of receivers) if (failure) failures.set(node.name, failure)
    if (thrown instanceof NobodyLeft) return { sent: new Map(), failures, shared: new Map() }
    throw thrown
  } finally {
    signal?.removeEventListener('abort', onAbort)
    const left = receivers.filter(({ done, presence }) => !done && !presence.ours)
    await Promise.all(left.map(({ node }) => collectLeftovers(engine, node)))
  }
}

/** Every node failed, so there is no use in reading on. */
class NobodyLeft extends Error {}

/** `ctr` needs the archive as it is; ours takes only layers, and only those that the node lacks. */
function wants({ presence, images }: Receiver, { header, isLayer }: PassingEntry): boolean {
  if (!presence.ours) return true
  if (!isLayer) return false
  const known = images.flatMap(({ from }) => (from.kind === 'archive' ? from.image.layers : []))
  const named = known.find(({ entry }) => entry === header.name)
  if (known.length > 0 && !named) return false
  const hex = contentName(header.name)
  const diffID = named?.diffID ?? `sha256:${hex}`
  return !presence.have.has(diffID) && !(hex && presence.entries.has(header.name))
}

/** The digest in an entry's name. Names that have one always stand for the same layer. */
function contentName(entry: string): string | undefined {
  return /(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])/.exec(entry)?.[0]
}

async function pass(
  { header, body }: PassingEntry,
  takers: Receiver[],
  signal: AbortSignal | undefined,
  onProgress: ((bytes: number) => void) | undefined,
): Promise<void> {
  const { name, size, type, linkname, mode } = header
  const shape: Partial<Header> & { name: string } = {
    name,
    type,
    mode,
    ...(type === 'file' ? { size } : { linkname }),
  }
  const sinks = takers.map((receiver) => {
    const written = Promise.withResolvers<void>()
    const sink = receiver.tar.entry(shape, () => written.resolve())
    sink.on('drain', () => receiver.release?.())
    return { receiver, sink, written: written.promise }
  })
  if (type === 'file') {
    for await (const chunk of body) {
      const full = sinks.filter(({ receiver, sink }) => !receiver.failure && !sink.write(chunk))
      if (full.length > 0) await Promise.all(full.map(({ receiver }) => room(receiver)))
      signal?.throwIfAborted()
      onProgress?.(chunk.length)
      if (sinks.every(({ receiver }) => receiver.failure)) return
    }
    for (const { sink } of sinks) sink.end(null)
  }
  await Promise.all(
    sinks.map(({ receiver, written }) => {
      void written.then(() => receiver.release?.())
      return room(receiver)
    }),
  )
  signal?.throwIfAborted()
}

function match(wanted: WantedImage, images: ArchivedImage[], name: string): ArchivedImage {
  const found =
    images.find(({ ids }) => ids.some((id) => wanted.ids.includes(id))) ??
    images.find(({ layers }) => layers.map(({ diffID }) => diffID).join() === wanted.diffIDs.join())
  if (!found) throw unreadable(name, `"${wanted.label}" is not in it`)
  return found
}

function planned({ wanted, image }: { wanted: WantedImage; image: ArchivedImage }) {
  return {
    names: wanted.names,
    ...(wanted.from.kind === 'engine' && { engineID: wanted.from.id }),
    config: image.config.toString('base64'),
    ...(image.manifest && { manifest: image.manifest.toString('base64') }),
    layers: image.layers.map(({ diffID, entry }) => ({
      diffID,
      entry,
      remember: contentName(entry) !== undefined,
    })),
  }
}

function sizes(images: ArchivedImage[], passed: Map<string, number>): Map<string, number> {
  const sent = new Map<string, number>()
  for (const { diffID, entry } of images.flatMap(({ layers }) => layers)) {
    const bytes = passed.get(entry)
    if (bytes !== undefined) sent.set(diffID, bytes)
  }
  return sent
}
