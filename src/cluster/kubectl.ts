import { createWriteStream, existsSync } from 'node:fs'
import { mkdir, rename, rm } from 'node:fs/promises'
import { homedir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { execa } from 'execa'
import { type Engine, type ExecResult, execStream } from '../engine/index.ts'
import { MayflyError } from '../errors.ts'

/**
 * How kubectl runs.
 *
 * @public
 */
export interface KubectlOptions {
  /** What it reads from standard input, as for `apply -f -`; default nothing. */
  stdin?: string | Uint8Array
  /** Folder that relative paths start from; default the current one. */
  cwd?: string
  /** Added to the process's own environment. */
  env?: Record<string, string>
  /** Ends it when it takes longer; default no limit. */
  timeoutMs?: number
  signal?: AbortSignal | undefined
  /** Whether an exit code other than 0 is an error; default true. */
  reject?: boolean
}

/**
 * Runs kubectl against a kubeconfig.
 *
 * @throws MayflyError `EXEC_FAILED` with what it printed
 */
export async function runKubectl(
  kubectl: string,
  kubeconfigPath: string,
  args: readonly string[],
  { stdin, cwd, env, timeoutMs, signal, reject = true }: KubectlOptions,
): Promise<ExecResult> {
  const run = await execa(kubectl, args, {
    env: { ...env, KUBECONFIG: kubeconfigPath },
    reject: false,
    stripFinalNewline: false,
    ...(stdin === undefined ? { stdin: 'ignore' } : { input: stdin }),
    ...(cwd !== undefined && { cwd }),
    ...(timeoutMs !== undefined && { timeout: timeoutMs }),
    ...(signal && { cancelSignal: signal }),
  })
  const { exitCode, stdout, stderr } = run
  if (exitCode === undefined || (reject && exitCode !== 0)) {
    const how = exitCode === undefined ? (run.shortMessage ?? 'it did not run') : `exit code ${exitCode}`
    throw new MayflyError('EXEC_FAILED', `\`kubectl ${args.join(' ')}\` failed: ${how}`, {
      output: stderr.trim() ? stderr : stdout,
      cause: run,
    })
  }
  return { exitCode, stdout, stderr }
}

/**
 * The kubectl of this host, or else the one of the node image, copied once into the cache folder.
 *
 * @param node A node that runs
 * @param version Of Kubernetes, such as `v1.37.2`
 * @throws MayflyError `EXEC_FAILED` where neither runs on this host
 */
export async function findKubectl(engine: Engine, node: string, version: string): Promise<string> {
  const onPath = (process.env['PATH'] ?? '').split(delimiter).map((folder) => join(folder, 'kubectl'))
  const installed = onPath.find((file) => existsSync(file) || existsSync(`${file}.exe`))
  if (installed) return 'kubectl'
  const arch = process.arch === 'x64' ? 'amd64' : process.arch
  if (process.platform !== 'linux' || arch !== engine.arch) {
    throw new MayflyError(
      'EXEC_FAILED',
      `There is no kubectl on this host, and the nodes' own is for linux/${engine.arch}`,
      { hint: 'Install kubectl, or run it in a node: `cluster.nodes[0].exec(["kubectl", …])`' },
    )
  }
  const file = join(cacheDir(), 'kubectl', `${version}-${arch}`, 'kubectl')
  if (!existsSync(file)) await copyOut(engine, node, file)
  return file
}

/** Where node images have it: mayfly's own, where it is all of Kubernetes in one program, and kind's. */
const paths = ['/usr/local/bin/kubectl', '/usr/bin/kubectl']

async function copyOut(engine: Engine, node: string, file: string): Promise<void> {
  const draft = `${file}.draft-${process.pid}`
  await mkdir(dirname(file), { recursive: true })
  try {
    for (const path of paths) {
      const { stdout, stderr, exited } = await execStream(engine, node, ['cat', path], { stdin: false })
      stderr.resume()
      await pipeline(stdout, createWriteStream(draft, { mode: 0o755 }))
      if ((await exited) === 0) return await rename(draft, file)
    }
    throw new MayflyError('EXEC_FAILED', `Node ${node} has no kubectl in ${paths.join(' or ')}`)
  } finally {
    await rm(draft, { force: true })
  }
}

function cacheDir(): string {
  return (
    process.env['MAYFLY_CACHE_DIR'] ??
    join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'mayfly')
  )
}
