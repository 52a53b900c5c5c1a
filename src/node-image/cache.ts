import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { lstat, mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises'
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

/** Runs what a step does, told to whoever watches; not called for a step that is up to date. */
export type Announce = (produce: () => Promise<void>) => Promise<void>

/**
 * Runs a build step unless the same inputs were built before. The result appears under its final name only when
 * it is whole, so an interrupted build leaves nothing that looks finished.
 *
 * @param name Step's name, the first part of the folder's name
 * @param inputs Everything the result depends on
 * @param produce Fills the folder it is given
 * @param announce Default: nobody watches
 */
export async function cached(
  name: string,
  inputs: unknown,
  produce: (dir: string) => Promise<void>,
  announce: Announce = (produce) => produce(),
): Promise<Built> {
  const key = contentKey(inputs)
  const parent = join(cacheRoot(), 'node-image')
  const dir = join(parent, `${name}-${key}`)
  if (existsSync(dir)) {
    const now = new Date()
    await utimes(dir, now, now)
    return { dir, key, fresh: false }
  }
  await removeAbandoned(parent)
  const draft = `${dir}${draftSuffix}${process.pid}`
  await rm(draft, { recursive: true, force: true })
  await mkdir(draft, { recursive: true })
  try {
    await announce(() => produce(draft))
    await rename(draft, dir).catch((thrown: NodeJS.ErrnoException) => {
      // Another build made the same meanwhile: the same inputs, the same result.
      if (thrown.code !== 'ENOTEMPTY' && thrown.code !== 'EEXIST') throw thrown
      return rm(draft, { recursive: true, force: true })
    })
  } catch (thrown) {
    await rm(draft, { recursive: true, force: true })
    throw thrown
  }
  return { dir, key, fresh: true }
}

const draftSuffix = '.draft-'

/** Removes what builds left that were killed half-way. */
async function removeAbandoned(parent: string): Promise<void> {
  for (const name of await readdir(parent).catch(() => [])) {
    const [, builder] = name.split(draftSuffix)
    if (builder !== undefined && !isAlive(Number(builder)))
      await rm(join(parent, name), { recursive: true, force: true })
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code === 'EPERM'
  }
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

/**
 * A hash that changes when any file below a folder is written, added or removed. Sizes and times stand in for
 * contents, as a source tree has tens of thousands of files.
 */
export async function treeState(dir: string): Promise<string> {
  const skipped = new Set(['.git', '_output', 'node_modules'])
  const hash = createHash('sha256')
  const visit = async (folder: string): Promise<void> => {
    const entries = (await readdir(folder, { withFileTypes: true })).sort((a, b) =>
      a.name < b.name ? -1 : 1,
    )
    const files = entries.filter((entry) => !entry.isDirectory())
    const states = await Promise.all(files.map(({ name }) => lstat(join(folder, name))))
    for (const [at, { size, mtimeMs }] of states.entries())
      hash.update(`${folder}/${files[at]?.name} ${size} ${mtimeMs}\n`)
    for (const entry of entries)
      if (entry.isDirectory() && !skipped.has(entry.name)) await visit(join(folder, entry.name))
  }
  await visit(dir)
  return hash.digest('hex')
}

const keepUnusedMs = 7 * 24 * 3_600_000

/** Removes finished steps that no build has used for a week. */
export async function pruneCache(now = Date.now()): Promise<void> {
  const parent = join(cacheRoot(), 'node-image')
  for (const name of await readdir(parent).catch(() => [])) {
    const { mtimeMs } = await stat(join(parent, name))
    if (mtimeMs < now - keepUnusedMs) await rm(join(parent, name), { recursive: true, force: true })
  }
}

/** Writes a JSON document that people can read. */
export async function writeJson(path: string, value: unknown): Promise<void> {
  await writeFile(path, `${JSON.stringify(value, undefined, 2)}\n`)
}
