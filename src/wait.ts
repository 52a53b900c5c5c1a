import { setTimeout as sleep } from 'node:timers/promises'
import { MayflyError, messageOf } from './errors.ts'

/** Limits that every wait obeys. */
export interface WaitLimits {
  /** Gives up after this many milliseconds. */
  timeoutMs: number
  /** Gives up at once when aborted. */
  signal?: AbortSignal | undefined
}

/** A signal that fires at the deadline or when the caller's own signal does, whichever comes first. */
export function deadline({ timeoutMs, signal }: WaitLimits): AbortSignal {
  const timer = AbortSignal.timeout(timeoutMs)
  return signal ? AbortSignal.any([timer, signal]) : timer
}

/** Why a signal fired that is a {@link withinDeadline}. */
class DeadlinePassed extends Error {
  readonly timeoutMs: number
  constructor(timeoutMs: number) {
    super(`${timeoutMs / 1000} s are over`)
    this.timeoutMs = timeoutMs
  }
}

/**
 * One deadline for all waits that are given this signal: when it fires, they say that time is up, not that the caller
 * gave up.
 */
export function withinDeadline({ timeoutMs, signal }: WaitLimits): AbortSignal {
  const stop = new AbortController()
  setTimeout(() => stop.abort(new DeadlinePassed(timeoutMs)), timeoutMs).unref()
  return signal ? AbortSignal.any([stop.signal, signal]) : stop.signal
}

/**
 * Asks `probe` again and again until it returns something other than `undefined`, for sources that cannot be
 * watched. An error that `probe` throws counts as "not yet" and is told on time-out.
 *
 * @param what What is waited for, as it reads after "Waited 30 s for"
 * @param probe One look; gets a signal that ends with the wait
 * @param intervalMs Pause between two looks at first, default 50; see {@link restMs}
 * @throws MayflyError `WAIT_TIMED_OUT` with what was last seen, `WAIT_ABORTED` when the caller's signal fired
 */
export async function until<T>(
  what: string,
  probe: (signal: AbortSignal, report: (seen: string) => void) => Promise<T | undefined>,
  { timeoutMs, signal, intervalMs = 50 }: WaitLimits & { intervalMs?: number },
): Promise<T> {
  const limit = deadline({ timeoutMs, signal })
  const started = performance.now()
  let lastSeen = 'nothing'
  let cause: unknown
  while (!limit.aborted) {
    try {
      const found = await probe(limit, (seen) => {
        lastSeen = seen
      })
      if (found !== undefined) return found
      cause = undefined
    } catch (thrown) {
      if (limit.aborted) break
      lastSeen = messageOf(thrown)
      cause = thrown
    }
    await pause(restMs(intervalMs, performance.now() - started), limit)
  }
  throw waitError(what, lastSeen, { timeoutMs, signal }, cause)
}

/**
 * How long to rest between two looks. A wait that has become long has a slow machine for its reason, which has better to
 * do than to answer: what it waited already grows by no more than a hundredth. Pure.
 */
export function restMs(intervalMs: number, waitedMs: number): number {
  return Math.max(intervalMs, waitedMs / 100)
}

/** Rests between two attempts at something that cannot be watched; ends early, without an error, when the signal fires. */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  await sleep(ms, undefined, signal ? { signal } : {}).catch(() => undefined)
}

/** The error for a wait that ended without its event. */
export function waitError(
  what: string,
  lastSeen: string,
  { timeoutMs, signal }: WaitLimits,
  cause?: unknown,
): MayflyError {
  const overall = signal?.reason instanceof DeadlinePassed ? signal.reason : undefined
  const waitedMs = overall?.timeoutMs ?? timeoutMs
  return signal?.aborted && !overall
    ? new MayflyError(
        'WAIT_ABORTED',
        `Stopped waiting for ${what}: the caller aborted; last seen: ${lastSeen}`,
        {
          cause: cause ?? signal.reason,
        },
      )
    : new MayflyError('WAIT_TIMED_OUT', `Waited ${waitedMs / 1000} s for ${what}; last seen: ${lastSeen}`, {
        cause,
      })
}
