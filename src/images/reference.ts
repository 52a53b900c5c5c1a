import { editDistance } from '../edit-distance.ts'

/**
 * The name under which a node's container runtime looks an image up, for a reference as people write it:
 * `app` → `docker.io/library/app:latest`, `ghcr.io/a/b:1@sha256:…` → `ghcr.io/a/b@sha256:…`. An image id is not a name;
 * see {@link isImageId}.
 *
 * Rules: github.com/distribution/reference, `ParseDockerRef`.
 */
export function nodeReference(reference: string): string {
  const [tagged = '', digest] = reference.split('@')
  const slash = tagged.indexOf('/')
  const first = tagged.slice(0, Math.max(slash, 0))
  const hasDomain =
    slash > 0 && (/[.:]/.test(first) || first === 'localhost' || first !== first.toLowerCase())
  const domain = !hasDomain || first === 'index.docker.io' ? 'docker.io' : first
  const path = hasDomain ? tagged.slice(slash + 1) : tagged
  const full = `${domain}/${domain === 'docker.io' && !path.includes('/') ? `library/${path}` : path}`
  const { repository, tag } = splitTag(full)
  return digest ? `${repository}@${digest}` : `${repository}:${tag ?? 'latest'}`
}

/** Whether a reference is an image's id, whole or shortened, with or without its algorithm. */
export function isImageId(reference: string, id: string): boolean {
  const hex = reference.replace(/^sha256:/, '')
  return /^[0-9a-f]{7,64}$/.test(hex) && id.replace(/^sha256:/, '').startsWith(hex)
}

/** `a/b:1` → `a/b` and `1`; a port is no tag. */
export function splitTag(reference: string): { repository: string; tag: string | undefined } {
  const colon = reference.lastIndexOf(':')
  return colon > reference.lastIndexOf('/')
    ? { repository: reference.slice(0, colon), tag: reference.slice(colon + 1) }
    : { repository: reference, tag: undefined }
}

/**
 * Up to three of the engine's image names that may have been meant: other tags of the same repository first, then
 * names that differ by few letters.
 */
export function nearNames(reference: string, known: readonly string[]): string[] {
  const { repository } = splitTag(nodeReference(reference))
  const limit = Math.max(2, Math.floor(reference.length / 4))
  return [...new Set(known)]
    .map((name) => {
      const sameRepository = splitTag(nodeReference(name)).repository === repository
      const edits = editDistance(nodeReference(name), nodeReference(reference))
      return { name, distance: sameRepository ? 0 : edits }
    })
    .filter(({ distance }) => distance <= limit)
    .sort((a, b) => a.distance - b.distance || a.name.localeCompare(b.name))
    .slice(0, 3)
    .map(({ name }) => name)
}
