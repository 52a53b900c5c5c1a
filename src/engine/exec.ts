import type { Socket } from 'node:net'
import { finished, PassThrough, Readable, Writable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { MayflyError } from '../errors.ts'
import { waitError } from '../wait.ts'
import { ask, engineError } from './asking.ts'
import { demultiplex } from './demux.ts'
import type { Engine } from './engine.ts'

/** How a command runs in a container. */
export interface ExecOptions {
  env?: Record<string, string>
  /** `uid`, `uid:gid` or a name. Default: the image's user. */
  user?: string
  workingDir?: string
  /** All capabilities of the engine, as the container itself may not have. Default false. */
  privileged?: boolean
  signal?: AbortSignal | undefined
  /** Ends the wait, not the process; see {@link execStream}. Default: no limit. */
  timeoutMs?: number
}

/** A command under way in a container. */
export interface RunningExec {
  /** Ending it closes the command's standard input. Writes wait while the command does not read. */
  stdin: Writable
  stdout: Readable
  stderr: Readable
  /** Exit code, once the command has ended and all its output was read. */
  exited: Promise<number>
  /** Lets this process end while the command runs, until {@link RunningExec.ref}. */
  unref(): void
  ref(): void
}

/** What a command that has ended left. */
export interface ExecResult {
  exitCode: number
  stdout: string
  stderr: string
}

/**
 * Starts a command in a running container. Back pressure holds in all three streams, so memory stays small whatever
 * flows. Read both outputs (or `resume()` them), else the command stalls.
 *
 * The engine has no call to end such a process: after an abort its standard input is closed and its outputs are broken,
 * which ends most commands; one that ignores both goes on until its container ends.
 *
 * @throws MayflyError `ENGINE_REFUSED` (status 404 no such container, 409 not running or paused), `ENGINE_LOST`;
 *   `exited` rejects with `WAIT_ABORTED`, `WAIT_TIMED_OUT` or `ENGINE_LOST`
 */
export async function execStream(
  engine: Engine,
  container: string,
  argv: readonly string[],
  { stdin = true, ...options }: ExecOptions & { stdin?: boolean } = {},
): Promise<RunningExec> {
  const { env, user, workingDir, privileged, signal, timeoutMs } = options
  const what = `run \`${argv.join(' ')}\` in container "${container}"`
  const timer = timeoutMs === undefined ? undefined : AbortSignal.timeout(timeoutMs)
  const limit = timer && signal ? AbortSignal.any([timer, signal]) : (timer ?? signal)

  const describeFailure = (thrown: unknown): MayflyError =>
    limit?.aborted
      ? waitError(`\`${argv.join(' ')}\` in container "${container}"`, 'the command still running', {
          timeoutMs: timeoutMs ?? 0,
          signal,
        })
      : engineError(engine, what, undefined, thrown)

  const start = async () => {
    const exec = await ask(engine, what, limit, (abortSignal) =>
      engine.docker.getContainer(container).exec({
        Cmd: [...argv],
        AttachStdin: stdin,
        AttachStdout: true,
        AttachStderr: true,
        Tty: false,
        ...(env && { Env: Object.entries(env).map(([name, value]) => `${name}=${value}`) }),
        ...(user && { User: user }),
        ...(workingDir && { WorkingDir: workingDir }),
        ...(privileged && { Privileged: true }),
        abortSignal,
      }),
    )
    // Without hijack docker-modem buffers all input without limit, and closing the input loses the output
    // (github.com/apocas/docker-modem/issues/48).
    const socket = (await ask(engine, what, limit, () =>
      exec.start({ hijack: true, stdin, Tty: false }),
    )) as Socket
    return { exec, socket }
  }
  const { exec, socket } = await start().catch((thrown: unknown) => {
    throw limit?.aborted ? describeFailure(thrown) : thrown
  })

  const stdout = new PassThrough()
  const stderr = new PassThrough()
  const input = stdin ? inputOf(socket) : closedInput()
  const onAbort = () => socket.destroy(new Error('aborted'))
  limit?.addEventListener('abort', onAbort, { once: true })
  if (limit?.aborted) onAbort()

  const exited = demultiplex(socket, stdout, stderr)
    .catch(async (thrown: unknown) => {
      // A command that ends without reading all its input resets the connection; that is no failure.
      if (limit?.aborted || (await exec.inspect().catch(() => undefined))?.Running !== false) throw thrown
    })
    .then(async () => {
      stdout.end()
      stderr.end()
      await Promise.all([readToTheEnd(stdout), readToTheEnd(stderr)])
      const { ExitCode } = await ask(engine, what, limit, (abortSignal) =>
        exec.inspect({ abortSignal } as object),
      )
      return ExitCode ?? 0
    })
    .catch((thrown: unknown) => {
      const failure = describeFailure(thrown)
      stdout.destroy(failure)
      stderr.destroy(failure)
      throw failure
    })
    .finally(() => {
      limit?.removeEventListener('abort', onAbort)
      input.destroy()
      socket.destroy()
    })
  // Whoever only reads the streams learns of a failure there.
  exited.catch(() => undefined)
  for (const stream of [stdout, stderr]) stream.on('error', () => undefined)
  return {
    stdin: input,
    stdout,
    stderr,
    exited,
    unref: () => void socket.unref(),
    ref: () => void socket.ref(),
  }
}

/**
 * Runs a command in a running container to its end and keeps what it printed, in memory.
 *
 * @param options.stdin What the command reads, default nothing
 * @returns Exit code and output; a non-zero exit code is no error here, see {@link execOrThrow}
 * @throws what {@link execStream} throws, and the error of a `stdin` stream that breaks
 */
export async function exec(
  engine: Engine,
  container: string,
  argv: readonly string[],
  { stdin, ...options }: ExecOptions & { stdin?: Readable | string | Uint8Array } = {},
): Promise<ExecResult> {
  const running = await execStream(engine, container, argv, { ...options, stdin: stdin !== undefined })
  const source =
    stdin === undefined || stdin instanceof Readable ? stdin : Readable.from([Buffer.from(stdin)])
  let broken: unknown
  const fed =
    source &&
    pipeline(source, running.stdin).catch((thrown: unknown) => {
      // A command need not read all it is given; only a source that broke by itself is a failure.
      if (source.errored && source.errored === thrown) broken = thrown
    })
  const [stdout, stderr, exitCode] = await Promise.all([
    buffer(running.stdout),
    buffer(running.stderr),
    running.exited,
    fed,
  ]).catch((thrown: unknown) => {
    throw broken ?? thrown
  })
  if (broken) throw broken
  return { exitCode, stdout: stdout.toString('utf8'), stderr: stderr.toString('utf8') }
}

/**
 * Like {@link exec}, for commands that must succeed.
 *
 * @returns What the command wrote to stdout
 * @throws MayflyError `EXEC_FAILED` with the command, the container, the exit code and what it printed
 */
export async function execOrThrow(
  engine: Engine,
  container: string,
  argv: readonly string[],
  options: ExecOptions & { stdin?: Readable | string | Uint8Array } = {},
): Promise<string> {
  const { exitCode, stdout, stderr } = await exec(engine, container, argv, options)
  if (exitCode === 0) return stdout
  throw new MayflyError(
    'EXEC_FAILED',
    `\`${argv.join(' ')}\` failed in "${container}" with exit code ${exitCode}`,
    {
      output: stderr.trim() ? stderr : stdout,
    },
  )
}

/** Room for several chunks of a stream, so that whoever writes need not wake up for each that the engine takes. */
const inputBuffer = 2 ** 20

/** The socket's writing half. Ending it half-closes the connection, and the output still comes. */
function inputOf(socket: Socket): Writable {
  const input = new Writable({
    highWaterMark: inputBuffer,
    write: (chunk, _encoding, done) => void socket.write(chunk, done),
    final: (done) => void socket.end(() => done()),
    destroy: (error, done) => {
      if (error) socket.destroy(error)
      done(error)
    },
  })
  input.on('error', () => undefined)
  socket.once('close', () => input.destroy())
  return input
}

function closedInput(): Writable {
  const input = new Writable()
  input.end()
  return input
}

function readToTheEnd(stream: Readable): Promise<void> {
  return new Promise((resolve) => finished(stream, { writable: false }, () => resolve()))
}
