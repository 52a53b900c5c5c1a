import { Readable } from 'node:stream'
import type Docker from 'dockerode'
import { MayflyError, messageOf } from '../errors.ts'
import { ask, engineError, engineStatus, unlessGone } from './asking.ts'
import type { Abortable } from './containers.ts'
import type { Engine } from './engine.ts'
import { type ContainerFile, tarOf } from './files.ts'

/** What the engine knows about an image. Status 404 when it has none of that name. */
export async function inspectImage(
  engine: Engine,
  image: string,
  { signal }: Abortable = {},
): Promise<Docker.ImageInspectInfo> {
  return ask(engine, `inspect image "${image}"`, signal, () => engine.docker.getImage(image).inspect())
}

/** Whether the engine has an image. */
export async function imageExists(engine: Engine, image: string, options: Abortable = {}): Promise<boolean> {
  return unlessGone(inspectImage(engine, image, options))
}

/** The names of all images that the engine has. */
export async function listImageNames(engine: Engine, { signal }: Abortable = {}): Promise<string[]> {
  const images = await ask(engine, 'list images', signal, (abortSignal) =>
    engine.docker.listImages({ abortSignal } as object),
  )
  // Podman and older engines say null, or <none>:<none>, for an image without a name.
  return images
    .flatMap(({ RepoTags }) => RepoTags ?? [])
    .filter((name) => !name.startsWith('<none>'))
    .map((name) => nameAsGiven(engine, name))
}

/** An image's name as it was given: Podman puts `localhost/` before one without a registry, and finds it without. */
export function nameAsGiven({ kind }: Pick<Engine, 'kind'>, name: string): string {
  return kind === 'podman' ? name.replace(/^localhost\//, '') : name
}

/** Gives an image one more name. `reference` without a tag means `latest`. */
export async function tagImage(
  engine: Engine,
  image: string,
  reference: string,
  { signal }: Abortable = {},
): Promise<void> {
  const colon = reference.lastIndexOf(':')
  const tagged = colon > reference.lastIndexOf('/')
  await ask(engine, `tag image "${image}" as "${reference}"`, signal, (abortSignal) =>
    engine.docker.getImage(image).tag({
      repo: tagged ? reference.slice(0, colon) : reference,
      tag: tagged ? reference.slice(colon + 1) : 'latest',
      abortSignal,
    } as { repo: string; tag: string }),
  )
}

/**
 * Streams images out of the engine as one `docker save` archive.
 *
 * @param options.platform Of an image for several platforms only this one: `linux/amd64`. Needs API 1.48 (Docker 28);
 *   older engines hold one platform only and are not asked.
 */
export async function saveImages(
  engine: Engine,
  images: readonly string[],
  { platform, signal }: Abortable & { platform?: string } = {},
): Promise<Readable> {
  const what = `save ${images.map((image) => `"${image}"`).join(', ')}`
  const docker = engine.docker as Docker & { getImages(options: object): Promise<Readable> }
  const stream = await ask(engine, what, signal, (abortSignal) =>
    docker.getImages({
      names: images,
      ...(platform && speaks(engine, 1, 48) && { platform: ociPlatform(platform) }),
      abortSignal,
    }),
  )
  signal?.addEventListener('abort', () => stream.destroy(engineError(engine, what, signal, undefined)), {
    once: true,
  })
  return stream
}

/**
 * Feeds a `docker save` archive to the engine.
 *
 * @returns The names, or ids where there is no name, of what was loaded
 * @throws MayflyError `IMAGE_UNREADABLE` when the engine makes nothing of the archive
 */
export async function loadImage(
  engine: Engine,
  archive: Readable,
  { signal }: Abortable = {},
): Promise<string[]> {
  const what = 'load an image archive'
  const progress = await ask(engine, what, signal, (abortSignal) =>
    engine.docker.loadImage(archive, { abortSignal, quiet: true } as object),
  ).catch((thrown: unknown) => {
    // Docker tells in its answer what it could not read, Podman by this status.
    if (engineStatus(thrown) !== 500) throw thrown
    throw new MayflyError('IMAGE_UNREADABLE', messageOf(thrown), { cause: thrown })
  })
  const events = await ask(
    engine,
    what,
    signal,
    () =>
      new Promise<{ stream?: string; error?: string }[]>((resolve, reject) => {
        engine.docker.modem.followProgress(progress, (error, all) => (error ? reject(error) : resolve(all)))
      }),
  )
  const failure = events.find(({ error }) => error)
  if (failure) {
    throw new MayflyError('IMAGE_UNREADABLE', `${engine.describe()} can't load the archive: ${failure.error}`)
  }
  return events.flatMap(({ stream }) => {
    const [, name] = /^Loaded image(?: ID)?: (.+)$/.exec(stream?.trim() ?? '') ?? []
    return name ? [name] : []
  })
}

/**
 * Makes an image out of a root file system in a tar stream, as `docker import` does.
 *
 * @param options.changes Dockerfile instructions for its config: `ENTRYPOINT ["/a"]`
 */
export async function importImage(
  engine: Engine,
  rootFileSystem: Readable,
  reference: string,
  { changes = [], signal }: Abortable & { changes?: string[] } = {},
): Promise<void> {
  const what = `import image "${reference}"`
  const progress = await ask(engine, what, signal, (abortSignal) =>
    engine.docker.importImage(rootFileSystem, { repo: reference, changes, abortSignal } as object),
  )
  await ask(
    engine,
    what,
    signal,
    () =>
      new Promise<void>((resolve, reject) => {
        engine.docker.modem.followProgress(progress as Readable, (error, events: { error?: string }[]) => {
          const failure = error ?? events.find((event) => event.error)?.error
          if (failure) reject(failure instanceof Error ? failure : new Error(failure))
          else resolve()
        })
      }),
  )
}

/**
 * Builds an image from files with the engine's own builder: without a client, a cache or a network.
 *
 * @param files The build's context, with a `/Dockerfile`
 * @throws MayflyError `IMAGE_BUILD_FAILED` with all that the build printed
 */
export async function buildImageFrom(
  engine: Engine,
  files: readonly ContainerFile[],
  reference: string,
  { args = {}, signal }: Abortable & { /** Build arguments. */ args?: Record<string, string> } = {},
): Promise<void> {
  const what = `build image "${reference}"`
  const context = Readable.from([await tarOf(files)])
  const options = { t: reference, buildargs: args, networkmode: 'none', nocache: true, forcerm: true }
  const progress = await ask(engine, what, signal, (abortSignal) =>
    engine.docker.buildImage(context, { ...options, abortSignal } as object),
  )
  type Event = { stream?: string; error?: string }
  const events = await ask(
    engine,
    what,
    signal,
    () =>
      new Promise<Event[]>((resolve, reject) => {
        engine.docker.modem.followProgress(progress, (error, all) => (error ? reject(error) : resolve(all)))
      }),
  )
  const failure = events.find(({ error }) => error)?.error
  if (failure === undefined) return
  const output = events.map(({ stream = '' }) => stream).join('')
  throw new MayflyError(
    'IMAGE_BUILD_FAILED',
    `${engine.describe()} can't build image "${reference}": ${failure}`,
    { output },
  )
}

/** Removes an image's name, and the image with its last one. Nothing happens when there is none. */
export async function removeImage(
  engine: Engine,
  image: string,
  { force = false, signal }: Abortable & { force?: boolean } = {},
): Promise<boolean> {
  return unlessGone(
    ask(engine, `remove image "${image}"`, signal, (abortSignal) =>
      engine.docker.getImage(image).remove({ force, abortSignal } as object),
    ),
  )
}

/** Whether the engine speaks at least this API version. */
export function speaks({ apiVersion }: Pick<Engine, 'apiVersion'>, major: number, minor: number): boolean {
  const [theirMajor = 0, theirMinor = 0] = apiVersion.split('.').map(Number)
  return theirMajor > major || (theirMajor === major && theirMinor >= minor)
}

/** `linux/arm/v7` → the JSON object that the API takes. */
function ociPlatform(platform: string): { os?: string; architecture?: string; variant?: string } {
  const [os, architecture, variant] = platform.split('/')
  return { ...(os && { os }), ...(architecture && { architecture }), ...(variant && { variant }) }
}
