import { stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { execa } from 'execa'
import type { Engine } from '../engine/index.ts'
import { MayflyError } from '../errors.ts'

/** An image to be built before it is loaded, with the engine's own command line client. */
export interface ImageBuild {
  /** Folder that is the build's context. */
  build: string
  /** Name that the image gets. */
  tag: string
  /** Path of the Dockerfile. Default: `Dockerfile` in the folder. */
  dockerfile?: string
  /** Build arguments. */
  args?: Record<string, string>
}

/**
 * The folder of a build, in full.
 *
 * @throws MayflyError `IMAGE_BUILD_FAILED` where there is none
 */
export async function findContext({ build, tag }: Pick<ImageBuild, 'build' | 'tag'>): Promise<string> {
  const folder = resolve(build)
  if ((await stat(folder).catch(() => undefined))?.isDirectory()) return folder
  throw new MayflyError('IMAGE_BUILD_FAILED', `Can't build "${tag}": there is no folder ${folder}`)
}

/**
 * Builds an image with `docker build` or `podman build`. The client does it, and not a request to the engine, so that a
 * Dockerfile means the same as on the command line: BuildKit, caches, `.dockerignore`.
 *
 * @throws MayflyError `IMAGE_BUILD_FAILED` with all that the build printed
 */
export async function buildImage(
  engine: Engine,
  { build, tag, dockerfile, args = {} }: ImageBuild,
  signal: AbortSignal | undefined,
): Promise<void> {
  const folder = await findContext({ build, tag })
  const argv = [
    'build',
    '--tag',
    tag,
    ...(dockerfile ? ['--file', resolve(dockerfile)] : []),
    ...Object.entries(args).flatMap(([name, value]) => ['--build-arg', `${name}=${value}`]),
    folder,
  ]
  // What the user chose by DOCKER_HOST or a context holds for the client as well.
  const env = engine.place.chosen
    ? {}
    : engine.kind === 'podman'
      ? { CONTAINER_HOST: engine.place.address }
      : { DOCKER_HOST: engine.place.address }
  const result = await execa(engine.kind, argv, {
    env,
    all: true,
    reject: false,
    stdin: 'ignore',
    ...(signal && { cancelSignal: signal }),
  })
  if (!result.failed) return
  signal?.throwIfAborted()
  const missing = result.code === 'ENOENT'
  throw new MayflyError(
    'IMAGE_BUILD_FAILED',
    missing
      ? `Can't build "${tag}": there is no \`${engine.kind}\` command on the PATH`
      : `\`${engine.kind} build\` of "${tag}" in ${folder} failed`,
    {
      cause: result,
      ...(missing
        ? {
            hint: `install the ${engine.kind} command line client, or build the image first and name it here`,
          }
        : { output: result.all ?? '' }),
    },
  )
}
