import { stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { type Engine, engineStatus, inspectImage, listImageNames, nameAsGiven } from '../engine/index.ts'
import { MayflyError, messageOf } from '../errors.ts'
import {
  type ArchivedImage,
  imagesOf,
  openArchive,
  platformText,
  readArchive,
  runsOn,
  unreadable,
  wrongPlatform,
} from './archive.ts'
import { buildImage, findContext, type ImageBuild } from './build.ts'
import { isImageId, nearNames, nodeReference } from './reference.ts'

/** A tar archive with images: what `docker save` writes, or an OCI layout; gzipped or not. */
export interface ImageArchive {
  archive: string
  /** Name for the image, for an archive with one image that names none. */
  name?: string
}

/** An image of the engine by its id, whatever names it has there. */
export interface EngineImage {
  id: string
  /** Names for the nodes. */
  names: readonly string[]
}

/**
 * Where an image comes from: a reference that the engine has (name, digest or id), the path of an archive (a string
 * that ends in `.tar`, `.tar.gz` or `.tgz`, or is a file), a folder to build, or an id with the names to give it.
 *
 * @public
 */
export type ImageSource = string | ImageArchive | ImageBuild | EngineImage

/** One image that nodes should have, whatever it comes from. */
export interface WantedImage {
  /** For messages and the report: the sources that led to it, as they were written. */
  label: string
  /** Full names for the nodes. */
  names: string[]
  /** Digests by which a node may know it. */
  ids: string[]
  /** Digests of its layers' tar streams, bottom up. */
  diffIDs: string[]
  platform: string
  from: EngineOrigin | ArchiveOrigin
}

/** An image in the engine's store. */
export interface EngineOrigin {
  kind: 'engine'
  id: string
  /** What the engine is asked for. */
  reference: string
  /** e.g. `overlay2`; `undefined` with Docker's containerd image store. */
  graphDriver: string | undefined
  /** Paths that get a volume in every container of the image. */
  volumes: string[]
}

/** An image in an archive file. */
export interface ArchiveOrigin {
  kind: 'archive'
  file: string
  image: ArchivedImage
}

/**
 * Finds out what the sources are. Several names of one image become one image.
 *
 * @throws MayflyError `IMAGE_NOT_FOUND` with near names, `IMAGE_UNREADABLE`, `IMAGE_WRONG_PLATFORM`,
 *   `IMAGE_BUILD_FAILED`
 */
export async function resolveSources(
  engine: Engine,
  sources: readonly ImageSource[],
  signal: AbortSignal | undefined,
): Promise<WantedImage[]> {
  const platform = `linux/${engine.arch}`
  const found = await Promise.all(
    sources.map(async (source) => {
      if (typeof source !== 'string' && 'build' in source) {
        await buildImage(engine, source, signal)
        return [await fromEngine(engine, source.tag, platform, signal)]
      }
      if (isEngineImage(source)) {
        const image = await fromEngine(engine, source.id, platform, signal)
        return [{ ...image, label: source.names[0] ?? source.id, names: source.names.map(nodeReference) }]
      }
      const archive = await archiveIn(source)
      return archive
        ? fromArchive(archive, platform)
        : [await fromEngine(engine, source as string, platform, signal)]
    }),
  )
  const merged = new Map<string, WantedImage>()
  for (const image of found.flat()) {
    const key = `${image.from.kind === 'archive' ? image.from.file : ''}|${image.ids[0]}`
    const same = merged.get(key)
    if (same) {
      same.names = [...new Set([...same.names, ...image.names])]
      if (!same.label.split(', ').includes(image.label)) same.label += `, ${image.label}`
    } else merged.set(key, image)
  }
  return [...merged.values()]
}

/**
 * Makes sure of what can be known of sources before there is a node: the engine has the images, the archives and folders exist.
 *
 * @throws MayflyError `IMAGE_NOT_FOUND` with near names, `IMAGE_UNREADABLE`, `IMAGE_WRONG_PLATFORM`, `IMAGE_BUILD_FAILED`
 */
export async function checkSources(
  engine: Engine,
  sources: readonly ImageSource[],
  signal?: AbortSignal,
): Promise<void> {
  const built = sources.flatMap((source) =>
    typeof source === 'object' && 'build' in source ? source.tag : [],
  )
  await Promise.all(
    sources.map(async (source) => {
      if (typeof source === 'object' && 'build' in source) await findContext(source)
      else if (isEngineImage(source)) await fromEngine(engine, source.id, `linux/${engine.arch}`, signal)
      else if (!(await archiveIn(source)) && !built.includes(source as string)) {
        await fromEngine(engine, source as string, `linux/${engine.arch}`, signal)
      }
    }),
  )
}

function isEngineImage(source: ImageSource): source is EngineImage {
  return typeof source === 'object' && 'id' in source
}

async function archiveIn(source: string | ImageArchive): Promise<ImageArchive | undefined> {
  const path = typeof source === 'string' ? source : source.archive
  const isFile = (await stat(path).catch(() => undefined))?.isFile()
  if (typeof source === 'string' && !isFile && !/\.(tar|tar\.gz|tgz)$/.test(source)) return undefined
  if (!isFile) throw unreadable(path, `there is no file ${resolve(path)}`)
  return typeof source === 'string' ? { archive: source } : source
}

async function fromArchive({ archive, name }: ImageArchive, platform: string): Promise<WantedImage[]> {
  const contents = await readArchive(openArchive(archive), archive)
  const images = imagesOf(contents, archive, platform)
  if (name !== undefined && images.length > 1) {
    throw unreadable(archive, `it holds ${images.length} images, so one name does not fit`)
  }
  return images.map((image) => {
    const lost = image.layers.find(({ entry }) => !contents.layers.has(entry))
    if (lost) throw unreadable(archive, `layer ${lost.entry} is missing`)
    const names = name === undefined ? image.names : [name]
    if (names.length === 0) {
      throw new MayflyError('IMAGE_UNREADABLE', `The image archive "${archive}" gives its image no name`, {
        hint: `say it: { archive: '${archive}', name: 'app:dev' }`,
      })
    }
    return {
      label: archive,
      names: names.map(nodeReference),
      ids: image.ids,
      diffIDs: image.layers.map(({ diffID }) => diffID),
      platform: image.platform,
      from: { kind: 'archive', file: archive, image },
    }
  })
}

async function fromEngine(
  engine: Engine,
  reference: string,
  platform: string,
  signal: AbortSignal | undefined,
): Promise<WantedImage> {
  const inspected = await inspectImage(engine, reference, { signal }).catch(async (thrown: unknown) => {
    // A reference that is none, such as `a b`, is refused with status 400.
    if (![400, 404].includes(engineStatus(thrown) ?? 0)) throw thrown
    const near = nearNames(reference, await listImageNames(engine, { signal }))
    throw new MayflyError('IMAGE_NOT_FOUND', `${engine.describe()} has no image "${reference}"`, {
      cause: thrown,
      hint:
        near.length > 0
          ? `did you mean ${near.map((name) => `"${name}"`).join(', ')}? Otherwise build or pull it first`
          : 'build or pull it first',
      ...(engineStatus(thrown) === 400 && { output: messageOf(thrown) }),
    })
  })
  const { Id, RepoTags, RootFS, GraphDriver, Config, Os, Architecture } = inspected
  const { Variant, Descriptor } = inspected as { Variant?: string; Descriptor?: { digest?: string } }
  const own = platformText({ os: Os, architecture: Architecture, ...(Variant && { variant: Variant }) })
  if (!runsOn(own, platform)) throw wrongPlatform(reference, own, platform)
  const ownNames = (RepoTags ?? []).map((name) => nameAsGiven(engine, name))
  const byId = isImageId(reference, Id) && !ownNames.some((name) => name.startsWith(`${reference}:`))
  return {
    label: reference,
    names: (byId ? ownNames : [reference]).map(nodeReference),
    ids: [...new Set([Id, ...(Descriptor?.digest ? [Descriptor.digest] : [])])],
    diffIDs: RootFS?.Layers ?? [],
    platform: own,
    from: {
      kind: 'engine',
      id: Id,
      reference,
      graphDriver: GraphDriver?.Name,
      volumes: Object.keys((Config?.Volumes as object | null | undefined) ?? {}),
    },
  }
}
