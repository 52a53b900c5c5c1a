import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rename, rm, utimes, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'

/** Where finished build steps are kept: `$MAYFLY_CACHE_DIR`, else below the user's cache folder. */
export function cacheRoot(env: NodeJS.ProcessEnv = process.env): string {
  return env['MAYFLY_CACHE_DIR'] ?? join(env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'mayfly')
}

/** The result of a build step: a folder, and whether it was there already. */
export interface Built {
  dir: string
  key: string
  fresh: boolean
}

/**
 * Runs a build step unless the same inputs were built before. The result appears under its final name only when
 * it is whole, so an interrupted build leaves nothing that looks finished.
 *
 * @param name Step's name, the first part of the folder's name
 * @param inputs Everything the result depends on
 * @param produce Fills the folder it is given
 */
export async function cached(
  name: string,
  inputs: unknown,
  produce: (dir: string) => Promise<void>,
): Promise<Built> {
  const key = contentKey(inputs)
  const parent = join(cacheRoot(), 'node-image')
  const dir = join(parent, `${name}-${key}`)
  if (existsSync(dir)) {
    const now = new Date()
    await utimes(dir, now, now)
    return { dir, key, fresh: false }
  }
  const draft = `${dir}.draft-${process.pid}`
  await rm(draft, { recursive: true, force: true })
  await mkdir(draft, { recursive: true })
  try {
    await produce(draft)
    await rename(draft, dir)
  } catch (thrown) {
    await rm(draft, { recursive: true, force: true })
    throw thrown
  }
  return { dir, key, fresh: true }
}

/** A short hash of anything that can be written as JSON. */
export function contentKey(inputs: unknown): string {
  return createHash('sha256').update(JSON.stringify(inputs)).digest('hex').slice(0, 16)
}

/** The names and hashes of all files below a folder, as an input of {@link cached}. */
export async function hashFolder(
  dir: string,
  include: (name: string) => boolean = () => true,
): Promise<string[]> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile() && include(entry.name))
  const hashes = files.map(async (entry) => {
    const path = join(entry.parentPath, entry.name)
    const hash = createHash('sha256')
      .update(await readFile(path))
      .digest('hex')
    return `${path.slice(dir.length + 1)} ${hash}`
  })
  return (await Promise.all(hashes)).sort()
}

/** Writes a JSON document that people can read. */
export async function writeJson(path: string, value: unknown): Promise<void> {
  await writeFile(path, `${JSON.stringify(value, undefined, 2)}\n`)
}
