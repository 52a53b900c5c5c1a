import { posix } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { extract, pack } from 'tar-stream'
import { MayflyError } from '../errors.ts'
import { ask, engineError, engineStatus } from './asking.ts'
import type { Abortable } from './containers.ts'
import type { Engine } from './engine.ts'

/** A file, directory or symbolic link for {@link putFiles}. Owner and group default to root. */
export type ContainerFile = { path: string; uid?: number; gid?: number } & (
  | { content: string | Uint8Array /** Default 0o644. */; mode?: number }
  | { directory: true /** Default 0o755. */; mode?: number }
  | { linkTo: string }
)

/**
 * Puts files into a container in one request, running or only created. Missing parent directories are made with mode
 * 755; paths are absolute.
 *
 * Measured on Docker 20.10: in a container that has not started, files under a declared volume land in the volume and
 * are seen after the start (the volume is mounted for the copy); but a volume that Docker has not yet filled from the
 * image is filled first. Files under a tmpfs are lost, for it is mounted empty at the start.
 *
 * @throws MayflyError `ENGINE_REFUSED`, with status 404 when there is no such container
 */
export async function putFiles(
  engine: Engine,
  container: string,
  files: readonly ContainerFile[],
  { signal }: Abortable = {},
): Promise<void> {
  if (files.length === 0) return
  const archive = await tarOf(files)
  const put = () =>
    ask(engine, `put files into container "${container}"`, signal, (abortSignal) =>
      engine.docker
        .getContainer(container)
        .putArchive(archive, { path: '/', abortSignal } as { path: string }),
    )
  // Docker 20.10 was seen to close such a connection in the middle, without a word in its log. The same files may be put twice.
  await put().catch((thrown: unknown) => {
    if (!isCutOff(thrown)) throw thrown
    return put()
  })
}

/** Whether the engine was there, and closed the connection before it answered. */
function isCutOff(thrown: unknown): boolean {
  if (!(thrown instanceof MayflyError) || thrown.code !== 'ENGINE_LOST') return false
  const { code } = (thrown.cause ?? {}) as NodeJS.ErrnoException
  return code === 'EPIPE' || code === 'ECONNRESET'
}

/** The files as one tar archive, for {@link putFiles}. Exported for tests. */
export async function tarOf(files: readonly ContainerFile[]): Promise<Buffer> {
  const archive = pack()
  for (const file of files) {
    const name = file.path.replace(/^\/+/, '')
    const owner = { uid: file.uid ?? 0, gid: file.gid ?? 0, mtime: new Date() }
    if ('linkTo' in file) archive.entry({ ...owner, name, type: 'symlink', linkname: file.linkTo })
    else if ('directory' in file)
      archive.entry({ ...owner, name, type: 'directory', mode: file.mode ?? 0o755 })
    else archive.entry({ ...owner, name, mode: file.mode ?? 0o644 }, Buffer.from(file.content))
  }
  archive.finalize()
  const chunks: Buffer[] = []
  for await (const chunk of archive) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

/**
 * Reads one regular file of a container, running or not.
 *
 * @returns `undefined` when there is no such file
 * @throws MayflyError `ENGINE_REFUSED`
 */
export async function readFile(
  engine: Engine,
  container: string,
  path: string,
  { signal }: Abortable = {},
): Promise<Buffer | undefined> {
  const what = `read ${path} of container "${container}"`
  let archive: NodeJS.ReadableStream
  try {
    archive = await ask(engine, what, signal, (abortSignal) =>
      engine.docker.getContainer(container).getArchive({ path, abortSignal } as { path: string }),
    )
  } catch (thrown) {
    if (engineStatus(thrown) === 404 && !/no such container/i.test(String(thrown))) return undefined
    throw thrown
  }
  let content: Buffer | undefined
  let linkTo: string | undefined
  const reader = extract()
  reader.on('entry', (header, stream, next) => {
    const chunks: Buffer[] = []
    stream.on('data', (chunk) => chunks.push(chunk as Buffer))
    stream.on('end', () => {
      if (header.type === 'file' && content === undefined) content = Buffer.concat(chunks)
      if (header.type === 'symlink') linkTo = header.linkname ?? undefined
      next()
    })
  })
  try {
    await pipeline(archive, reader, { ...(signal && { signal }) })
  } catch (thrown) {
    throw engineError(engine, what, signal, thrown)
  }
  // The engine hands out a symbolic link as such.
  if (linkTo !== undefined)
    return readFile(engine, container, posix.resolve(posix.dirname(path), linkTo), { signal })
  if (content === undefined) throw new MayflyError('ENGINE_REFUSED', `Can't ${what}: it is no regular file`)
  return content
}
