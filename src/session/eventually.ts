import { MayflyError, messageOf } from '../errors.ts'
import { deadline, pause } from '../wait.ts'
import { limitsWithin, type TestLimits, type WaitOptions } from './limits.ts'

/**
 * How something is asked again and again.
 *
 * @public
 */
export interface RepeatOptions extends WaitOptions {
  /** Pause between two attempts in milliseconds; default 100. */
  intervalMs?: number
}

/**
 * Runs `attempt` again and again until it throws nothing, and returns what it returned. The signal that it gets ends with the wait.
 *
 * @throws What the last attempt threw, its message led by how long and how often it was tried
 * @public
 */
export type Eventually = <T>(
  attempt: (signal: AbortSignal) => T | Promise<T>,
  options?: RepeatOptions,
) => Promise<T>

/**
 * Runs `look` again and again for `durationMs` (default 1000), and fails as soon as it throws.
 *
 * @throws What `look` threw, its message led by how long it had held
 * @public
 */
export type Consistently = (
  look: (signal: AbortSignal) => unknown,
  options?: { durationMs?: number; intervalMs?: number; signal?: AbortSignal | undefined },
) => Promise<void>

/** `eventually` for one test. */
export function eventuallyWithin(test: TestLimits): Eventually {
  return async (attempt, options = {}) => {
    const limits = limitsWithin(test, options)
    const limit = deadline(limits)
    const started = performance.now()
    let last: unknown = new MayflyError('WAIT_TIMED_OUT', 'there was no time for an attempt')
    let attempts = 0
    while (!limit.aborted) {
      attempts++
      try {
        return await raced(attempt(limit), limit)
      } catch (thrown) {
        if (thrown !== limit.reason || attempts === 1) last = thrown
      }
      await pause(options.intervalMs ?? 100, limit)
    }
    const count = attempts === 1 ? '1 attempt' : `${attempts} attempts`
    throw ledBy(`Not so after ${secondsSince(started)} s and ${count}`, last)
  }
}

/** `consistently` for one test. */
export function consistentlyWithin(test: TestLimits): Consistently {
  return async (look, { durationMs = 1000, intervalMs = 100, signal } = {}) => {
    const started = performance.now()
    const end = AbortSignal.timeout(durationMs)
    const { signal: stop } = limitsWithin(test, { signal })
    const limit = stop ? AbortSignal.any([end, stop]) : end
    do {
      try {
        await look(limit)
      } catch (thrown) {
        // A look that was cut off by the end of the time says nothing.
        if (end.aborted && thrown === limit.reason) return
        throw ledBy(`It held for ${secondsSince(started)} of ${durationMs / 1000} s only`, thrown)
      }
      await pause(intervalMs, limit)
    } while (!limit.aborted)
    stop?.throwIfAborted()
  }
}

/** An attempt that hangs must not outlast the wait. */
function raced<T>(attempt: T | Promise<T>, limit: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const giveUp = () => reject(limit.reason)
    limit.addEventListener('abort', giveUp, { once: true })
    Promise.resolve(attempt)
      .then(resolve, reject)
      .finally(() => limit.removeEventListener('abort', giveUp))
  })
}

/** The same error, for an assertion's error has more to show than its message. */
function ledBy(lead: string, thrown: unknown): unknown {
  if (!(thrown instanceof Error)) return new MayflyError('WAIT_TIMED_OUT', `${lead}: ${messageOf(thrown)}`)
  try {
    thrown.message = `${lead}: ${thrown.message}`
    return thrown
  } catch {
    return new MayflyError('WAIT_TIMED_OUT', `${lead}: ${thrown.message}`, { cause: thrown })
  }
}

function secondsSince(started: number): string {
  return ((performance.now() - started) / 1000).toFixed(1)
}
