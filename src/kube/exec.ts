import { MayflyError } from '../errors.ts'
import { openChannel } from './channel.ts'
import type { Kube } from './connection.ts'
import { locatePod, type PodRef } from './logs.ts'
import type { KubeObject } from './objects.ts'
import { assertPodsRun } from './pods-run.ts'

/**
 * How a command is run in a container.
 *
 * @public
 */
export interface ExecOptions {
  /** For a pod named without one; default: the kubeconfig's own. */
  namespace?: string | undefined
  /** Default: the one that the pod's `kubectl.kubernetes.io/default-container` annotation names, or its first. */
  container?: string | undefined
  /** What the command reads; it reads nothing when left out. */
  stdin?: string | Uint8Array | AsyncIterable<string | Uint8Array>
  /** Told of each piece of output as it comes. */
  onOutput?: (stream: 'stdout' | 'stderr', bytes: Buffer) => void
  /** Ends the connection; the command itself may go on. */
  signal?: AbortSignal | undefined
}

/**
 * What a command in a container came to.
 *
 * @public
 */
export interface ExecResult {
  exitCode: number
  stdout: string
  stderr: string
}

const channels = { stdin: 0, stdout: 1, stderr: 2, status: 3 }

/**
 * Runs a command in a container of a running pod, without a shell.
 *
 * @param argv The program and its arguments
 * @returns Its exit code, whatever it is, and all that it wrote
 * @throws MayflyError `CONTROL_PLANE_ONLY`; `EXEC_FAILED` when it could not be started or the connection was lost, `KUBE_REQUEST_FAILED` when
 *   there is no such pod or container
 * @public
 */
export async function execInPod(
  kube: Kube,
  pod: PodRef,
  argv: readonly string[],
  { namespace, container, stdin, onOutput, signal }: ExecOptions = {},
): Promise<ExecResult> {
  const { path, label } = locatePod(kube, pod, namespace)
  const doing = `run ${argv[0]} in ${label}`
  assertPodsRun(kube, doing)
  const target = container ?? (await defaultContainer(kube, path, doing, signal))
  const query = new URLSearchParams({ container: target, stdout: 'true', stderr: 'true' })
  if (stdin !== undefined) query.set('stdin', 'true')
  for (const argument of argv) query.append('command', argument)

  const output = { stdout: [] as Buffer[], stderr: [] as Buffer[] }
  let status: ExecStatus | undefined
  const ended = Promise.withResolvers<void>()
  const channel = await openChannel(kube, `${path}/exec`, {
    protocol: 'v5.channel.k8s.io',
    query,
    doing,
    signal,
    receive(number, bytes) {
      if (number === channels.status) {
        // The last message: all output is here.
        status = JSON.parse(bytes.toString()) as ExecStatus
        ended.resolve()
        return
      }
      const stream = number === channels.stdout ? 'stdout' : 'stderr'
      output[stream].push(bytes)
      onOutput?.(stream, bytes)
    },
  })
  channel.closed.then(() => ended.resolve())
  // A source that fails ends the command; one that goes on when the command has ended is let go.
  if (stdin !== undefined) feed(stdin, channel, ended.promise).catch(ended.reject)
  try {
    await ended.promise
  } finally {
    channel.close()
  }
  signal?.throwIfAborted()
  const stdout = Buffer.concat(output.stdout).toString()
  const stderr = Buffer.concat(output.stderr).toString()
  return { exitCode: exitCodeOf(status, doing, stdout + stderr), stdout, stderr }
}

async function feed(
  stdin: NonNullable<ExecOptions['stdin']>,
  channel: Awaited<ReturnType<typeof openChannel>>,
  ended: Promise<void>,
): Promise<void> {
  let isOver = false
  const over = () => {
    isOver = true
  }
  ended.then(over, over)
  for await (const piece of typeof stdin === 'string' || stdin instanceof Uint8Array ? [stdin] : stdin) {
    const bytes = typeof piece === 'string' ? Buffer.from(piece) : piece
    for (let from = 0; from < bytes.length; from += messageBytes) {
      await channel.send(channels.stdin, bytes.subarray(from, from + messageBytes))
    }
    if (isOver) return
  }
  channel.end(channels.stdin)
}

const messageBytes = 32 * 1024

async function defaultContainer(
  kube: Kube,
  path: string,
  doing: string,
  signal: AbortSignal | undefined,
): Promise<string> {
  const pod = await kube.request<KubeObject>('GET', path, { signal, doing })
  return (
    pod.metadata.annotations?.['kubectl.kubernetes.io/default-container'] ?? pod.spec?.containers?.[0]?.name
  )
}

/** The Status object with which the API server tells how a command ended (subprotocol v4 and later). */
interface ExecStatus {
  status: 'Success' | 'Failure'
  reason?: string
  message?: string
  details?: { causes?: { reason: string; message: string }[] }
}

function exitCodeOf(status: ExecStatus | undefined, doing: string, output: string): number {
  if (!status) {
    throw new MayflyError('EXEC_FAILED', `Could not ${doing}: the connection ended before the command did`, {
      output,
    })
  }
  if (status.status === 'Success') return 0
  const code = status.details?.causes?.find(({ reason }) => reason === 'ExitCode')?.message
  if (status.reason === 'NonZeroExitCode' && code !== undefined) return Number(code)
  throw new MayflyError('EXEC_FAILED', `Could not ${doing}: ${status.message ?? 'no reason given'}`, {
    output,
  })
}
