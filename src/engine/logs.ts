import { PassThrough, type Readable } from 'node:stream'
import { ask, engineError } from './asking.ts'
import type { Abortable } from './containers.ts'
import { inspectContainer } from './containers.ts'
import { demultiplex } from './demux.ts'
import type { Engine } from './engine.ts'

/** Which part of a log. */
export interface LogOptions extends Abortable {
  /** Only the last so many lines. Default: all. */
  tail?: number
  /** Prefix each line with its time. Default false. */
  timestamps?: boolean
}

/** What a container's main process printed so far, stdout and stderr in the order of their arrival. */
export async function containerLogs(
  engine: Engine,
  container: string,
  options: LogOptions = {},
): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of await openLog(engine, container, false, options)) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString('utf8')
}

/**
 * A container's log as it grows, stdout and stderr in one stream. It ends with the container, and breaks with
 * `WAIT_ABORTED` when `signal` fires; destroy it to stop earlier.
 */
export async function followLogs(
  engine: Engine,
  container: string,
  options: LogOptions = {},
): Promise<Readable> {
  return openLog(engine, container, true, options)
}

async function openLog(
  engine: Engine,
  container: string,
  follow: boolean,
  { tail, timestamps, signal }: LogOptions,
): Promise<Readable> {
  const what = `show the log of container "${container}"`
  const { Config } = await inspectContainer(engine, container, { signal })
  const opened = await ask(engine, what, signal, (abortSignal) =>
    streamLog(engine, container, {
      follow,
      stdout: true,
      stderr: true,
      ...(tail !== undefined && { tail }),
      ...(timestamps && { timestamps }),
      abortSignal,
    }),
  )
  return plainLog(engine, what, opened, Config.Tty, signal)
}

/** dockerode's own call keeps a log that is not followed in memory, as text, which breaks its binary frames. */
function streamLog(
  { docker }: Engine,
  container: string,
  options: Record<string, unknown> & { abortSignal: AbortSignal },
): Promise<Readable> {
  return new Promise((resolve, reject) => {
    docker.modem.dial(
      {
        path: `/containers/${container}/logs?`,
        method: 'GET',
        isStream: true,
        options,
        abortSignal: options.abortSignal,
        statusCodes: { 200: true, 404: 'no such container', 500: 'server error' },
      },
      (error: unknown, stream: unknown) => (error ? reject(error) : resolve(stream as Readable)),
    )
  })
}

/** A container with a terminal has a raw log, all others a multiplexed one. */
function plainLog(
  engine: Engine,
  what: string,
  opened: Readable,
  raw: boolean,
  signal: AbortSignal | undefined,
): Readable {
  const log = new PassThrough()
  log.once('close', () => opened.destroy())
  const copied = raw
    ? (async () => {
        for await (const chunk of opened)
          if (!log.write(chunk)) await new Promise((resume) => log.once('drain', resume))
      })()
    : demultiplex(opened, log, log)
  copied.then(
    () => log.end(),
    (thrown: unknown) => log.destroy(log.destroyed ? undefined : engineError(engine, what, signal, thrown)),
  )
  return log
}
