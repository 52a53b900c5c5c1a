import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { delimiter, dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { connectEngine } from '../../src/engine/index.ts'
import { until } from '../../src/wait.ts'

const run = promisify(execFile)

/** A Docker daemon that a test may stop and kill. */
export interface PrivateEngine extends AsyncDisposable {
  /** Its address, for DOCKER_HOST. */
  address: string
  /** Runs Docker's client against it and gives what it printed. */
  docker(...argv: string[]): Promise<string>
  /** Starts a Node.js program in the engine's network, where alone its published ports are. */
  program(file: string, ...argv: string[]): Program
  /** Runs one there whose output is shown, and gives its exit code. */
  run(file: string, argv: readonly string[]): Promise<number>
  /** Ends the daemon, with its containers for SIGTERM, without for SIGKILL, and starts it again. */
  restart(signal: 'SIGTERM' | 'SIGKILL'): Promise<void>
}

/** A process that answers lines with lines. */
export interface Program extends AsyncDisposable {
  /** The next line that it prints. */
  told(): Promise<string>
  tell(line: string): void
}

/** Whether this host can run one: with Docker on it, and as root. */
export function canRunEngine(): boolean {
  const onPath = (program: string) =>
    (process.env['PATH'] ?? '').split(':').some((dir) => existsSync(join(dir, program)))
  return process.getuid?.() === 0 && ['dockerd', 'ip', 'nsenter'].every(onPath)
}

/**
 * Starts a Docker daemon with a network namespace of its own: of two daemons in one, each takes the other's packet
 * filter rules for leftovers of its own.
 *
 * @param image What it is to have of the host's engine
 * @param options `programs` is a folder with another engine than the host's
 */
export async function startPrivateEngine(
  image: string,
  { programs }: { programs?: string } = {},
): Promise<PrivateEngine> {
  const host = await connectEngine()
  // Beside the host engine's own folder: temporary folders may be on file systems that carry no overlay.
  const folder = await mkdtemp(join(dirname(host.rootDir), 'mayfly-engine-'))
  const namespace = `mayfly-${randomBytes(4).toString('hex')}`
  const address = `unix://${folder}/docker.sock`
  const path = [programs, process.env['PATH']].filter(Boolean).join(delimiter)
  const env = { ...process.env, DOCKER_HOST: address, PATH: path }
  const inNamespace = [`--net=/run/netns/${namespace}`]
  execFileSync('ip', ['netns', 'add', namespace])
  execFileSync('nsenter', [...inNamespace, 'ip', 'link', 'set', 'lo', 'up'])

  const docker = async (...argv: string[]) => (await run('docker', argv, { env })).stdout.trim()

  let daemon: ChildProcess
  const start = async () => {
    const log = openSync(join(folder, 'log'), 'a')
    const paths = Object.entries({ 'data-root': 'data', 'exec-root': 'run', pidfile: 'pid' })
    const options = paths.map(([option, name]) => `--${option}=${join(folder, name)}`)
    daemon = spawn('nsenter', [...inNamespace, 'dockerd', ...options, '--host', address], {
      ...{ stdio: ['ignore', log, log], env },
    })
    closeSync(log)
    await until('the engine to answer', () => docker('version'), { timeoutMs: 30_000 }).catch((thrown) => {
      throw new Error(`${thrown}\n${readFileSync(join(folder, 'log'), 'utf8').slice(-3000)}`)
    })
  }
  const end = async (signal: 'SIGTERM' | 'SIGKILL') => {
    const ended = once(daemon, 'exit')
    daemon.kill(signal)
    await ended
    if (signal === 'SIGTERM') return
    // Its containerd dies with it. A daemon that finds a process of that id waits for it, a dead one too.
    const ofContainerd = join(folder, 'run', 'containerd', 'containerd.pid')
    const state = `/proc/${readFileSync(ofContainerd, 'utf8').trim()}/stat`
    const isDead = async () => !existsSync(state) || / Z /.test(readFileSync(state, 'utf8')) || undefined
    await until('containerd to end', isDead, { timeoutMs: 10_000 })
    await Promise.all([rm(ofContainerd), rm(join(folder, 'pid'))])
  }

  const dispose = async () => {
    await end('SIGTERM')
    execFileSync('ip', ['netns', 'delete', namespace])
    // A daemon that was killed leaves its data folder mounted, and one of today its network's namespace.
    const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n')
    const left = mounts.flatMap((line) => line.split(' ')[4] ?? []).filter((path) => path.startsWith(folder))
    for (const path of left.reverse()) execFileSync('umount', [path])
    await rm(folder, { recursive: true })
  }
  try {
    await start()
    await run('sh', ['-c', `docker save "$0" | DOCKER_HOST=${address} docker load`, image])
  } catch (thrown) {
    await dispose()
    throw thrown
  }
  return {
    address,
    docker,
    program: (file, ...argv) =>
      programOf(spawn('nsenter', [...inNamespace, process.execPath, file, ...argv], { env, stdio })),
    run: async (file, argv) => {
      const child = spawn('nsenter', [...inNamespace, process.execPath, file, ...argv], {
        ...{ env, stdio: 'inherit' },
      })
      const [code] = await once(child, 'exit')
      return code ?? 1
    },
    restart: async (signal) => {
      await end(signal)
      await start()
    },
    [Symbol.asyncDispose]: dispose,
  }
}

const stdio: ['pipe', 'pipe', 'inherit'] = ['pipe', 'pipe', 'inherit']

function programOf(child: ChildProcess): Program {
  const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]()
  const ended = once(child, 'exit')
  return {
    told: async () => {
      const { value, done } = await lines.next()
      if (done) throw new Error('the program ended')
      return value
    },
    tell: (line) => void child.stdin?.write(`${line}\n`),
    [Symbol.asyncDispose]: async () => {
      child.stdin?.end()
      await ended
    },
  }
}
