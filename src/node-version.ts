import { MayflyError } from './errors.ts'

/**
 * Refuses a Node.js that is too old, before it stumbles over what it lacks. The same versions are in `engines` of package.json.
 *
 * @throws MayflyError `HOST_UNFIT`
 */
export function requireNode(version: string = process.versions.node): void {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  if (major > 22 || (major === 22 && minor >= 18)) return
  throw new MayflyError('HOST_UNFIT', `mayfly needs Node.js 22.18, 24 or newer; this is ${version}`, {
    hint: 'Install a newer one, or put it first in the PATH',
  })
}
