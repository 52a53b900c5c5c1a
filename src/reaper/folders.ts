import { lstat, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { formatIdentity, livenessOf, parseIdentity, thisProcess } from './process-identity.ts'

const prefix = 'mayfly-'
/** Names the process that a folder lives and dies with. */
const ownerFile = '.mayfly-owner'

/**
 * Makes a folder in the system's temporary folder that only this user can enter, and that goes with this process: the
 * watchdog or a later sweep removes it when the process did not.
 *
 * @param purpose A word for its name: `kubeconfig`
 */
export async function makePrivateFolder(purpose: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), `${prefix}${purpose}-`))
  await writeFile(join(folder, ownerFile), formatIdentity(thisProcess()), { mode: 0o600 })
  return folder
}

/** Removes a folder and all that is in it; nothing happens when there is none. */
export async function removePrivateFolder(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true })
}

/** Removes the private folders of one process. */
export async function removeFoldersOf(owner: string): Promise<void> {
  for (const { folder, owner: theirs } of await listFolders()) {
    if (theirs === owner) await removePrivateFolder(folder)
  }
}

/** Removes the private folders of dead processes. */
export async function sweepFolders(): Promise<void> {
  for (const { folder, owner } of await listFolders()) {
    const identity = parseIdentity(owner)
    const seen = identity && livenessOf(identity)
    if (seen === 'dead' || seen === 'earlier boot') await removePrivateFolder(folder)
  }
}

/** Only this user's own folders count: the temporary folder is everybody's. */
async function listFolders(): Promise<{ folder: string; owner: string }[]> {
  const names = (await readdir(tmpdir())).filter((name) => name.startsWith(prefix))
  const found = await Promise.all(
    names.map(async (name) => {
      const folder = join(tmpdir(), name)
      try {
        const stat = await lstat(folder)
        if (!stat.isDirectory() || (process.getuid && stat.uid !== process.getuid())) return []
        return [{ folder, owner: await readFile(join(folder, ownerFile), 'utf8') }]
      } catch {
        return []
      }
    }),
  )
  return found.flat()
}
