import { readdir, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { isKustomization, kustomizationBases } from './kustomize.ts'
import { isManifestPath, type ManifestSource } from './manifests.ts'

/**
 * Where manifests are read from, as globs with absolute paths: to be watched for changes. Of a kustomization these are all folders that
 * it reaches into. Text, objects and functions have none.
 */
export async function manifestPaths(sources: readonly ManifestSource[], cwd: string): Promise<string[]> {
  const seen = new Set<string>()
  const globs = sources.filter(isManifestPath).map((path) => globsOf(resolve(cwd, path), seen))
  return (await Promise.all(globs)).flat()
}

async function globsOf(path: string, seen: Set<string>): Promise<string[]> {
  if (seen.has(path)) return []
  seen.add(path)
  const found = await stat(path).catch(() => undefined)
  if (!found?.isDirectory()) return [path]
  const kustomization = (await readdir(path)).find(isKustomization)
  const bases = kustomization ? await kustomizationBases(join(path, kustomization)) : []
  const below = await Promise.all(bases.map((base) => globsOf(resolve(path, base), seen)))
  return [`${path}/**`, ...below.flat()]
}
