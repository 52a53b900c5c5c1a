import type { WaitLimits } from '../wait.ts'

/** How long what a test does may take. */
export interface TestLimits {
  /** Fires when the test is over or was given up. */
  signal?: AbortSignal | undefined
  /** Milliseconds until the test runner gives the test up; `Infinity` for never. */
  remainingMs(): number
}

/**
 * Limits of a wait.
 *
 * @public
 */
export interface WaitOptions {
  /** Default: until shortly before the test's own time-out, at most 60 000. */
  timeoutMs?: number
  signal?: AbortSignal | undefined
}

/** The longest wait that nobody asked for, in milliseconds. */
const defaultTimeoutMs = 60_000

/** The end of a wait comes this much before the end of the test, so that its reason is told and not just "timed out". */
const marginMs = 500

/** The limits of one wait within a test. */
export function limitsWithin(test: TestLimits, { timeoutMs, signal }: WaitOptions = {}): WaitLimits {
  const rest = Math.max(100, test.remainingMs() - marginMs)
  const chosen = timeoutMs ?? Math.min(defaultTimeoutMs, rest)
  return { timeoutMs: Math.round(chosen), signal: anyOf(test.signal, signal) }
}

/** One signal for both, where there are both. */
export function anyOf(one: AbortSignal | undefined, other: AbortSignal | undefined): AbortSignal | undefined {
  return one && other ? AbortSignal.any([one, other]) : (one ?? other)
}

/** Limits of a test that started now and is given up after `timeoutMs` (0 for never). */
export function limitsFromNow(timeoutMs: number, signal: AbortSignal | undefined): TestLimits {
  const started = performance.now()
  const total = timeoutMs > 0 ? timeoutMs : Number.POSITIVE_INFINITY
  return { signal, remainingMs: () => total - (performance.now() - started) }
}
