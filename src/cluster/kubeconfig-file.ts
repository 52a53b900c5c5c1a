import { mkdir, open, readFile, realpath, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { parse, stringify } from 'yaml'
import { MayflyError } from '../errors.ts'
import { until } from '../wait.ts'

/** A kubeconfig as far as it is looked at here; what else is in it is passed on. */
interface KubeconfigFile {
  apiVersion?: string
  kind?: string
  'current-context'?: string
  clusters?: Named[]
  contexts?: Named[]
  users?: Named[]
}

interface Named {
  name: string
}

const lists = ['clusters', 'contexts', 'users'] as const

/** How long another process may hold the file. */
const lockLimitMs = 10_000

/**
 * Adds the cluster of a kubeconfig to a kubeconfig file, which is made when there is none, and makes it the current
 * context. What is there under the same names is replaced.
 *
 * @param file Path of the file
 * @param added Text of the kubeconfig
 * @throws MayflyError `CONFIG_INVALID` when the file is no kubeconfig, `WAIT_TIMED_OUT` when it stays locked
 */
export async function addToKubeconfigFile(file: string, added: string): Promise<void> {
  await change(file, (present) => mergeKubeconfigs(present, parse(added) as KubeconfigFile))
}

/** Takes context, cluster and user of that name out of a kubeconfig file. Nothing happens when they are not there. */
export async function removeFromKubeconfigFile(file: string, name: string): Promise<void> {
  await change(file, (present) => withoutContext(present, name))
}

/** The entries of both, those of the second where names are the same; its current context. Pure. */
export function mergeKubeconfigs(present: KubeconfigFile, added: KubeconfigFile): KubeconfigFile {
  const merged = lists.map((list) => {
    const own = added[list] ?? []
    const others = (present[list] ?? []).filter(({ name }) => own.every((entry) => entry.name !== name))
    return [list, [...others, ...own]]
  })
  return { ...added, ...present, ...Object.fromEntries(merged), ...currentContext(added['current-context']) }
}

/** What remains without the context, cluster and user of a name. Pure. */
export function withoutContext(present: KubeconfigFile, name: string): KubeconfigFile {
  const { 'current-context': current, ...rest } = present
  const remaining = lists.map((list) => [list, (present[list] ?? []).filter((entry) => entry.name !== name)])
  return { ...rest, ...Object.fromEntries(remaining), ...currentContext(current === name ? '' : current) }
}

function currentContext(name: string | undefined): KubeconfigFile {
  return name === undefined ? {} : { 'current-context': name }
}

async function change(path: string, edit: (present: KubeconfigFile) => KubeconfigFile): Promise<void> {
  // A link stays one, and the file that it leads to is changed.
  const file = await realpath(path).catch(() => resolve(path))
  await mkdir(dirname(file), { recursive: true })
  // The lock of client-go (https://pkg.go.dev/k8s.io/client-go/tools/clientcmd#ModifyConfig), which kubectl respects.
  const lock = `${file}.lock`
  const handle = await until(
    `the lock ${lock}`,
    async (_, report) => {
      report('another process holds it')
      return open(lock, 'wx', 0o600).catch((thrown: NodeJS.ErrnoException) => {
        if (thrown.code === 'EEXIST') return undefined
        throw thrown
      })
    },
    { timeoutMs: lockLimitMs },
  )
  const draft = `${file}.${process.pid}`
  try {
    await writeFile(draft, stringify(edit(await read(file)), { lineWidth: 0 }), { mode: 0o600 })
    await rename(draft, file)
  } finally {
    await rm(draft, { force: true })
    await handle.close()
    await rm(lock, { force: true })
  }
}

async function read(file: string): Promise<KubeconfigFile> {
  const text = await readFile(file, 'utf8').catch((thrown: NodeJS.ErrnoException) => {
    if (thrown.code === 'ENOENT') return ''
    throw thrown
  })
  const content = parse(text) as unknown
  if (content === null || content === undefined) return {}
  if (typeof content === 'object' && !Array.isArray(content)) return content as KubeconfigFile
  throw new MayflyError('CONFIG_INVALID', `${file} is not a kubeconfig`, {
    hint: 'Name another file, or one that does not exist yet',
  })
}
