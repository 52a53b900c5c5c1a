import { MayflyError, messageOf } from '../errors.ts'
import { waitError } from '../wait.ts'
import type { Engine } from './engine.ts'

/** The error of one engine request: dockerode adds the HTTP status to a plain Error. */
interface RequestError extends Error {
  statusCode?: number
  /** Podman names the kind of an error in `cause`. */
  json?: { message?: string; cause?: string } | null
  code?: string
}

/**
 * Makes one request of the engine and turns what dockerode throws into an error of ours.
 *
 * @param what The request as it reads after "refused to": `create container "a"`
 * @throws MayflyError `ENGINE_REFUSED` when the engine answered with an error (see {@link engineStatus}),
 *   `ENGINE_LOST` when it did not answer, `WAIT_ABORTED` when `signal` fired
 */
export async function ask<T>(
  engine: Pick<Engine, 'describe'>,
  what: string,
  signal: AbortSignal | undefined,
  request: (abortSignal: AbortSignal) => Promise<T>,
): Promise<T> {
  // dockerode forgets the signal in some of its calls, hence the race.
  const never = new AbortController()
  const abortSignal = signal ?? never.signal
  if (abortSignal.aborted) throw abortedError(what, abortSignal)
  let onAbort: () => void = () => undefined
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(abortedError(what, abortSignal))
    abortSignal.addEventListener('abort', onAbort, { once: true })
  })
  try {
    return await Promise.race([request(abortSignal), aborted])
  } catch (thrown) {
    throw engineError(engine, what, signal, thrown)
  } finally {
    abortSignal.removeEventListener('abort', onAbort)
  }
}

/** Names an error that came from the engine's client; errors of ours pass unchanged. */
export function engineError(
  engine: Pick<Engine, 'describe'>,
  what: string,
  signal: AbortSignal | undefined,
  thrown: unknown,
): MayflyError {
  if (thrown instanceof MayflyError) return thrown
  // Aborting a request shows as ECONNRESET, so the signal is the better witness.
  if (signal?.aborted) return abortedError(what, signal)
  const error = thrown as RequestError
  if (error.statusCode !== undefined) {
    // dockerode's own prefix guesses at the meaning of the status, often wrongly.
    const said = error.json?.message ?? error.message.replace(/^\(HTTP code \d+\) [^-]* - /, '')
    return new MayflyError(
      'ENGINE_REFUSED',
      `${engine.describe()} refused to ${what}: ${said.trim()} (HTTP ${error.statusCode})`,
      { cause: thrown },
    )
  }
  return new MayflyError(
    'ENGINE_LOST',
    `${engine.describe()} was lost when asked to ${what}: ${messageOf(thrown)}`,
    {
      cause: thrown,
      hint: 'look whether the engine still runs, and at its log',
    },
  )
}

/**
 * What Podman answers with status 500 where Docker's API has 409.
 *
 * @see https://github.com/containers/podman/blob/main/libpod/define/errors.go
 */
const podmanConflicts = new Set([
  'that name is already in use',
  'network already exists',
  'network is being used',
  'volume already exists',
  'volume is being used',
  'container state improper',
])

/**
 * The HTTP status behind an `ENGINE_REFUSED`, e.g. 404 for "no such container", and 409 for a conflict whatever the
 * engine; `undefined` for all other errors.
 */
export function engineStatus(thrown: unknown): number | undefined {
  if (!(thrown instanceof MayflyError) || thrown.code !== 'ENGINE_REFUSED') return undefined
  const { statusCode, json } = (thrown.cause ?? {}) as RequestError
  return statusCode === 500 && podmanConflicts.has(json?.cause ?? '') ? 409 : statusCode
}

/** Runs a removal and takes "not there" for done. Tells whether there was something to remove. */
export async function unlessGone(removal: Promise<unknown>): Promise<boolean> {
  try {
    await removal
    return true
  } catch (thrown) {
    if (engineStatus(thrown) === 404) return false
    throw thrown
  }
}

function abortedError(what: string, signal: AbortSignal): MayflyError {
  if (signal.reason instanceof MayflyError) return signal.reason
  return waitError(`the engine to ${what}`, 'no answer yet', { timeoutMs: 0, signal })
}
