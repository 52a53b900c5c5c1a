import { createHash, randomUUID } from 'node:crypto'
import { createReadStream, createWriteStream, existsSync } from 'node:fs'
import { mkdir, readdir, rename, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join, relative, resolve, sep } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createGunzip, createGzip } from 'node:zlib'
import { extract, type Pack, pack } from 'tar-stream'
import { cacheDir, placeFolder } from '../boot/index.ts'
import { type Engine, imageExists, saveImages } from '../engine/index.ts'
import { MayflyError, messageOf } from '../errors.ts'
import { archiveOf, openFolder, type SavedCluster, savedPrefix, unfit } from './saved.ts'

/**
 * What goes into the file of a snapshot.
 *
 * @public
 */
export interface SaveOptions {
  /** The images that were loaded onto the nodes come along; default true. The engine must have them still. */
  images?: boolean
  signal?: AbortSignal | undefined
}

/**
 * Packs a saved cluster into one file: a gzipped tar archive. The file appears whole or not at all.
 *
 * @throws MayflyError `IMAGE_NOT_FOUND` when the engine does not have an image any more
 */
export async function packCluster(
  engine: Engine,
  { base, images }: SavedCluster,
  file: string,
  { images: withImages = true, signal }: SaveOptions = {},
): Promise<void> {
  const draft = `${file}.draft-${randomUUID()}`
  const image = `${draft}.image`
  const archive = pack()
  await mkdir(dirname(resolve(file)), { recursive: true })
  const written = pipeline(archive, createGzip(), createWriteStream(draft, { mode: 0o600 }))
  written.catch(() => undefined)
  try {
    for (const entry of await readdir(base.dir, { recursive: true, withFileTypes: true })) {
      const path = join(entry.parentPath, entry.name)
      const name = relative(base.dir, path).split(sep).join('/')
      if (entry.isFile() && !name.startsWith('images/')) await addFile(archive, name, path)
    }
    for (const one of withImages ? images : []) {
      await pullOut(engine, one, image, signal)
      await addFile(archive, archiveOf(one), image)
    }
    archive.finalize()
    await written
    await rename(draft, file)
  } finally {
    archive.destroy()
    await rm(draft, { force: true })
    await rm(image, { force: true })
  }
}

async function addFile(archive: Pack, name: string, path: string): Promise<void> {
  const { size } = await stat(path)
  await pipeline(createReadStream(path), archive.entry({ name, size }))
}

/** Tar wants to know sizes first, and the engine tells none. */
async function pullOut(
  engine: Engine,
  { id, names, archive }: SavedCluster['images'][number],
  to: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (archive) return pipeline(createReadStream(archive), createWriteStream(to))
  if (!(await imageExists(engine, id, { signal }))) {
    throw new MayflyError(
      'IMAGE_NOT_FOUND',
      `${engine.describe()} does not have image ${names[0] ?? id} any more, which the cluster has`,
      { hint: 'Build or pull it again, or leave images out with `{ images: false }`' },
    )
  }
  await pipeline(await saveImages(engine, [id], { signal }), createWriteStream(to))
}

/**
 * Opens a file that {@link packCluster} wrote.
 *
 * @throws MayflyError `SNAPSHOT_UNFIT` when it is none, not whole, or of another version of mayfly
 */
export async function unpackCluster(file: string): Promise<SavedCluster> {
  const hash = createHash('sha256')
  try {
    await pipeline(createReadStream(file), hash)
  } catch (thrown) {
    throw unfit(file, `can't be read: ${messageOf(thrown)}`, thrown)
  }
  const target = join(cacheDir(), `${savedPrefix}${hash.digest('hex').slice(0, 16)}`)
  if (existsSync(target)) return openFolder(target, file)
  const draft = `${target}.draft-${randomUUID()}`
  try {
    await unpack(file, draft)
    await openFolder(draft, file, { verify: true })
    await placeFolder(draft, target)
  } finally {
    await rm(draft, { recursive: true, force: true })
  }
  return openFolder(target, file)
}

async function unpack(file: string, dir: string): Promise<void> {
  const archive = extract()
  const read = pipeline(createReadStream(file), createGunzip(), archive)
  read.catch(() => undefined)
  try {
    for await (const entry of archive) {
      const path = resolve(dir, entry.header.name)
      // Whoever made the file has no say in what else this host has.
      if (entry.header.type !== 'file' || !path.startsWith(resolve(dir) + sep)) {
        throw new Error(`it has an entry "${entry.header.name}"`)
      }
      await mkdir(dirname(path), { recursive: true })
      await writeFile(path, entry as AsyncIterable<Buffer>)
    }
    await read
  } catch (thrown) {
    throw unfit(file, `is no snapshot of a cluster: ${messageOf(thrown)}`, thrown)
  }
}
