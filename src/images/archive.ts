import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { posix } from 'node:path'
import { PassThrough, type Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import { extract, type Header } from 'tar-stream'
import { MayflyError, messageOf } from '../errors.ts'
import { collectGarbageAsItFlows } from './collect-garbage.ts'

/** An image archive, read to its end. Layers are not kept, only where they were. */
export interface ArchiveContents {
  /** Entry name → content of all small entries that are no layers: manifests, configurations, indexes. */
  documents: Map<string, Buffer>
  /** Names of the entries that are layers. */
  layers: Map<string, { bytes: number }>
  /** Entry name → name of the entry that it stands for. */
  links: Map<string, string>
}

/** One entry as it passes. `body` has to be read to its end. */
export interface PassingEntry {
  header: Header
  isLayer: boolean
  body: AsyncIterable<Buffer>
}

/** One image of an archive. Digests begin with `sha256:`. */
export interface ArchivedImage {
  /** As the archive writes them; empty when it names none. */
  names: string[]
  configDigest: string
  config: Buffer
  /** Its own manifest, where the archive is an OCI layout. */
  manifest?: Buffer
  /** All digests that it may be known by: of configuration, manifest, index. */
  ids: string[]
  /** `linux/amd64`, `linux/arm64/v8` */
  platform: string
  /** Bottom up; `entry` names the layer in the archive. */
  layers: { diffID: string; entry: string }[]
}

/** Manifests and configurations are kilobytes; this only keeps a hostile archive from filling the memory. */
const documentLimit = 4 * 2 ** 20
const documentsLimit = 32 * 2 ** 20

/** Opens an archive file, gunzipped where it is compressed. */
export function openArchive(file: string): Readable {
  const output = new PassThrough()
  const raw = createReadStream(file, { highWaterMark: 2 ** 18 })
  const open = async () => {
    const start = createReadStream(file, { end: 1 })
    let magic = Buffer.alloc(0)
    for await (const chunk of start) magic = Buffer.concat([magic, chunk as Buffer])
    if (magic[0] === 0x1f && magic[1] === 0x8b) await pipeline(raw, createGunzip(), output)
    else await pipeline(raw, output)
  }
  open().catch((thrown: Error) => {
    raw.destroy()
    output.destroy(thrown)
  })
  return output
}

/**
 * Reads a docker-archive or an OCI layout as it streams by, in whatever order its entries come.
 *
 * @param visit Sees every entry that is a file or a link, while it passes; may leave the body unread
 * @throws MayflyError `IMAGE_UNREADABLE` when it is no tar archive or ends early; what `visit` throws
 */
export async function readArchive(
  source: Readable,
  name: string,
  visit: (entry: PassingEntry) => Promise<void> = async () => undefined,
): Promise<ArchiveContents> {
  const contents: ArchiveContents = { documents: new Map(), layers: new Map(), links: new Map() }
  const reader = extract({ highWaterMark: 2 ** 20 })
  const onError = (thrown: Error) => void reader.destroy(thrown)
  source.on('error', onError)
  source.pipe(reader)
  const flow = collectGarbageAsItFlows()
  let visiting = false
  let kept = 0
  try {
    for await (const entry of reader) {
      const { header } = entry
      const path = posix.normalize(header.name)
      if (header.type === 'symlink' || header.type === 'link') {
        const from = header.type === 'symlink' ? posix.dirname(path) : ''
        contents.links.set(path, posix.join(from, header.linkname))
      }
      const { start, body } = await peek(entry as AsyncIterable<Buffer>)
      const isLayer = header.type === 'file' && looksLikeLayer(start)
      const { size } = header
      const chunks: Buffer[] = []
      if (isLayer) contents.layers.set(path, { bytes: size })
      const keep = header.type === 'file' && !isLayer && size <= documentLimit
      kept += keep ? size : 0
      if (kept > documentsLimit) throw unreadable(name, 'it holds more than 32 MiB of manifests')
      const passing = watched(body, (chunk) => {
        flow(chunk.length)
        if (keep) chunks.push(chunk)
      })
      visiting = true
      await visit({ header: { ...header, name: path }, isLayer, body: passing })
      visiting = false
      for await (const _ of passing);
      if (keep) contents.documents.set(path, Buffer.concat(chunks))
    }
  } catch (thrown) {
    if (visiting || thrown instanceof MayflyError) throw thrown
    throw unreadable(name, messageOf(thrown), thrown)
  } finally {
    source.off('error', onError)
    source.on('error', () => undefined)
    source.destroy()
  }
  return contents
}

/** The first tar block of an entry, and the whole body still to be read. */
async function peek(entry: AsyncIterable<Buffer>): Promise<{ start: Buffer; body: AsyncIterator<Buffer> }> {
  const chunks = entry[Symbol.asyncIterator]()
  const seen: Buffer[] = []
  let length = 0
  while (length < 512) {
    const { done, value } = await chunks.next()
    if (done) break
    seen.push(value)
    length += value.length
  }
  async function* body() {
    yield* seen
    for (;;) {
      const { done, value } = await chunks.next()
      if (done) return
      yield value
    }
  }
  return { start: Buffer.concat(seen), body: body() }
}

/** The body as something that can be read in two goes, so that what a visitor leaves is read after it. */
function watched(body: AsyncIterator<Buffer>, see: (chunk: Buffer) => void): AsyncIterable<Buffer> {
  const next = async () => {
    const step = await body.next()
    if (!step.done) see(step.value)
    return step
  }
  return { [Symbol.asyncIterator]: () => ({ next }) }
}

/**
 * A layer is a tar archive, plain or compressed with gzip or zstd. Names don't tell: in an OCI layout layers and
 * manifests lie side by side.
 */
function looksLikeLayer(start: Buffer): boolean {
  if (start.length >= 2 && start.readUInt16BE(0) === 0x1f8b) return true
  if (start.length >= 4 && start.readUInt32BE(0) === 0x28b52ffd) return true
  if (start.length < 512) return false
  const block = start.subarray(0, 512)
  if (block.every((byte) => byte === 0)) return true
  if (block.subarray(257, 262).toString('latin1') === 'ustar') return true
  // Archives older than POSIX have no magic, only a checksum over the header with eight blanks in its place.
  const stored = Number.parseInt(block.subarray(148, 156).toString('latin1'), 8)
  const sum = block.reduce((total, byte, at) => total + (at >= 148 && at < 156 ? 0x20 : byte), 0)
  return stored === sum
}

/**
 * The images of an archive for one platform. Attestations and other platforms are passed over.
 *
 * Formats: github.com/moby/moby image/spec/v1.2.md ("combined image JSON"), github.com/opencontainers/image-spec
 * image-layout.md.
 *
 * @param platform `linux/amd64`
 * @throws MayflyError `IMAGE_UNREADABLE` when documents are missing or broken, `IMAGE_WRONG_PLATFORM`
 */
export function imagesOf(contents: ArchiveContents, name: string, platform: string): ArchivedImage[] {
  const images = fromLayout(contents, name, platform) ?? fromDockerManifest(contents, name)
  if (!images || images.length === 0) {
    throw unreadable(name, 'it has neither a manifest.json (docker save) nor an index.json (OCI layout)')
  }
  const foreign = images.filter((image) => !runsOn(image.platform, platform))
  if (foreign.length > 0) throw wrongPlatform(name, foreign[0]?.platform ?? '', platform)
  return images
}

interface Descriptor {
  mediaType?: string
  digest?: string
  annotations?: Record<string, string>
  platform?: { os?: string; architecture?: string; variant?: string }
}

interface Manifest {
  mediaType?: string
  manifests?: Descriptor[]
  config?: Descriptor
  layers?: Descriptor[]
}

interface Config {
  os?: string
  architecture?: string
  variant?: string
  rootfs?: { diff_ids?: string[] }
}

function fromDockerManifest(contents: ArchiveContents, name: string): ArchivedImage[] | undefined {
  const raw = contents.documents.get('manifest.json')
  if (!raw) return undefined
  const list = parse<{ Config: string; RepoTags?: string[] | null; Layers?: string[] | null }[]>(
    raw,
    name,
    'manifest.json',
  )
  return list.map(({ Config, RepoTags, Layers }) => {
    const config = documentAt(contents, name, Config)
    return archived(contents, name, config, Layers ?? [], RepoTags ?? [])
  })
}

/** `undefined` when there is no OCI layout, or only half a one beside a Docker manifest. */
function fromLayout(contents: ArchiveContents, name: string, platform: string): ArchivedImage[] | undefined {
  const raw = contents.documents.get('index.json')
  if (!raw) return undefined
  const dockerNames = new Map<string, string[]>()
  for (const { Config, RepoTags } of dockerManifest(contents, name)) {
    const config = contents.documents.get(resolveLink(contents, Config))
    if (config) dockerNames.set(digestOf(config), RepoTags ?? [])
  }
  const found = new Map<string, ArchivedImage>()
  for (const top of parse<Manifest>(raw, name, 'index.json').manifests ?? []) {
    const chosen = chooseManifest(contents, name, top, platform, [])
    if (!chosen) continue
    const { manifest, bytes, ids } = chosen
    const config = documentAt(contents, name, blobPath(manifest.config?.digest))
    const entries = (manifest.layers ?? []).map(({ digest }) => blobPath(digest))
    const own = layoutNames(top)
    const image = found.get(digestOf(bytes)) ?? {
      ...archived(contents, name, config, entries, dockerNames.get(digestOf(config)) ?? []),
      manifest: bytes,
    }
    image.names = [...new Set([...image.names, ...own])]
    image.ids = [...new Set([...image.ids, ...ids])]
    found.set(digestOf(bytes), image)
  }
  if (found.size === 0 && contents.documents.has('manifest.json')) return undefined
  return [...found.values()]
}

function dockerManifest(contents: ArchiveContents, name: string) {
  const raw = contents.documents.get('manifest.json')
  return raw ? parse<{ Config: string; RepoTags?: string[] | null }[]>(raw, name, 'manifest.json') : []
}

/** Containerd writes whole names; the specification's annotation may be a bare tag, which names nothing. */
function layoutNames({ annotations = {} }: Descriptor): string[] {
  const whole = annotations['io.containerd.image.name']
  const reference = annotations['org.opencontainers.image.ref.name']
  return whole ? [whole] : reference && /[/:]/.test(reference) ? [reference] : []
}

/** Follows indexes down to the manifest of a platform. */
function chooseManifest(
  contents: ArchiveContents,
  name: string,
  descriptor: Descriptor,
  platform: string,
  above: string[],
): { manifest: Manifest; bytes: Buffer; ids: string[] } | undefined {
  if (descriptor.annotations?.['vnd.docker.reference.type'] === 'attestation-manifest') return undefined
  const bytes = contents.documents.get(blobPath(descriptor.digest))
  if (!bytes) return undefined
  if (above.length > 8) throw unreadable(name, 'its indexes name each other')
  const manifest = parse<Manifest>(bytes, name, descriptor.digest ?? '')
  const ids = [...above, digestOf(bytes)]
  if (!manifest.manifests) return { manifest, bytes, ids }
  const stated = manifest.manifests.filter(
    (child) => child.annotations?.['vnd.docker.reference.type'] !== 'attestation-manifest',
  )
  const fitting = stated.filter((child) => runsOn(platformText(child.platform ?? {}), platform))
  for (const child of fitting) {
    const chosen = chooseManifest(contents, name, child, platform, ids)
    if (chosen) return chosen
  }
  const others = stated.filter((child) => contents.documents.has(blobPath(child.digest)))
  throw wrongPlatform(name, others.map((child) => platformText(child.platform ?? {})).join(', '), platform)
}

function archived(
  contents: ArchiveContents,
  name: string,
  config: Buffer,
  entries: string[],
  names: string[],
): ArchivedImage {
  const parsed = parse<Config>(config, name, 'the configuration')
  const diffIDs = parsed.rootfs?.diff_ids ?? []
  if (diffIDs.length !== entries.length) {
    throw unreadable(name, `it lists ${entries.length} layers, and its configuration ${diffIDs.length}`)
  }
  const configDigest = digestOf(config)
  return {
    names,
    configDigest,
    config,
    ids: [configDigest],
    platform: platformText(parsed),
    layers: entries.map((entry, at) => ({ diffID: diffIDs[at] ?? '', entry: resolveLink(contents, entry) })),
  }
}

/** Whether an image's platform runs on a node's: operating system and architecture are the same. */
export function runsOn(image: string, node: string): boolean {
  const [imageOs, imageArch] = image.split('/')
  const [nodeOs, nodeArch] = node.split('/')
  return imageOs === nodeOs && imageArch === nodeArch
}

/** The error for an image that the nodes can't run. */
export function wrongPlatform(name: string, image: string, nodes: string): MayflyError {
  return new MayflyError(
    'IMAGE_WRONG_PLATFORM',
    `Image "${name}" is for ${image || 'no platform'}, and the nodes are ${nodes}`,
    { hint: `build it for ${nodes}, e.g. with \`docker build --platform ${nodes}\`` },
  )
}

/** `linux/arm64/v8`, from the parts that a configuration, a descriptor or an inspection has. */
export function platformText({ os, architecture, variant }: Config): string {
  return [os || 'linux', architecture || 'unknown', ...(variant ? [variant] : [])].join('/')
}

function digestOf(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

function blobPath(digest = ''): string {
  return `blobs/${digest.replace(':', '/')}`
}

function documentAt(contents: ArchiveContents, name: string, path: string): Buffer {
  const found = contents.documents.get(resolveLink(contents, path))
  if (!found) throw unreadable(name, `${path} is missing`)
  return found
}

function resolveLink({ links }: ArchiveContents, path: string): string {
  let at = posix.normalize(path)
  for (let hops = 0; hops < 8 && links.has(at); hops++) at = links.get(at) ?? at
  return at
}

function parse<T>(bytes: Buffer, name: string, document: string): T {
  try {
    return JSON.parse(bytes.toString('utf8')) as T
  } catch (cause) {
    throw unreadable(name, `${document} is not JSON (${messageOf(cause)})`, cause)
  }
}

/** The error for an archive that can't be understood. */
export function unreadable(name: string, why: string, cause?: unknown): MayflyError {
  return new MayflyError('IMAGE_UNREADABLE', `Can't read the image archive "${name}": ${why}`, {
    cause,
    hint: 'it has to be what `docker save` or an OCI layout exporter writes, optionally gzipped',
  })
}
