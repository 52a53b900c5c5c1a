import { isMayflyError } from '../errors.ts'
import { formatDifferences, type KubeObject, partialDiff, waitAvailable } from '../kube/index.ts'
import type { ObjectHandle } from './handle.ts'
import type { WaitOptions } from './limits.ts'

/** What a test runner's matcher returns. */
interface Verdict {
  pass: boolean
  message(): string
}

/** What a test runner tells a matcher. */
interface MatcherState {
  isNot?: boolean
}

/**
 * What can be expected of an object of the cluster; each is waited for.
 *
 * @public
 */
export interface KubeMatchers {
  /** It exists; with `not`, it is gone. */
  toExist(options?: WaitOptions): Promise<void>
  /** That entry of its `status.conditions` has the status, by default `True`. */
  toHaveCondition(type: string, status?: string | (WaitOptions & { status?: string })): Promise<void>
  /** It is rolled out, ready, bound, established, complete: whatever the kind has. */
  toBecomeAvailable(options?: WaitOptions): Promise<void>
  /**
   * It has what is given; what is not mentioned may be anything. Lists with names (or types, keys, ports) are matched by them. `expect.any(String)`
   * and regular expressions are obeyed.
   */
  toMatchResource(expected: object, options?: WaitOptions): Promise<void>
}

/** The matchers, for `expect.extend` of Vitest and of Jest. */
export const kubeMatchers = {
  async toExist(this: MatcherState, received: unknown, options: WaitOptions = {}): Promise<Verdict> {
    const handle = handleOf(received, 'toExist')
    return verdict(this, `${handle} exists`, () => handle.waitFor(this.isNot ? 'deleted' : 'exists', options))
  },

  async toHaveCondition(
    this: MatcherState,
    received: unknown,
    type: string,
    status: string | (WaitOptions & { status?: string }) = 'True',
  ): Promise<Verdict> {
    const handle = handleOf(received, 'toHaveCondition')
    const { status: wanted = 'True', ...limits } = typeof status === 'string' ? { status } : status
    const isSo = ({ status }: KubeObject) =>
      status?.conditions?.some(
        (one: { type: string; status: string }) => one.type === type && one.status === wanted,
      )
    return verdict(this, `${handle} has condition ${type}=${wanted}`, () =>
      this.isNot
        ? handle.waitFor(
            named(`not to have condition ${type}=${wanted}`, (object) => !isSo(object)),
            limits,
          )
        : handle.waitFor({ condition: type, status: wanted }, limits),
    )
  },

  async toBecomeAvailable(
    this: MatcherState,
    received: unknown,
    options: WaitOptions = {},
  ): Promise<Verdict> {
    const handle = handleOf(received, 'toBecomeAvailable')
    if (this.isNot) {
      throw new TypeError(
        'not.toBecomeAvailable has no end to wait for: use consistently, or toHaveCondition',
      )
    }
    const limits = handle.limits(options)
    const started = performance.now()
    return verdict(this, `${handle} is available`, async () => {
      const object = await handle.waitFor('exists', limits)
      const rest = Math.max(100, Math.round(limits.timeoutMs - (performance.now() - started)))
      await waitAvailable(handle.kube, [object], { ...limits, timeoutMs: rest })
    })
  },

  async toMatchResource(
    this: MatcherState,
    received: unknown,
    expected: object,
    options: WaitOptions = {},
  ): Promise<Verdict> {
    const handle = handleOf(received, 'toMatchResource')
    const isNot = this.isNot
    const matches = named('what is expected (- expected, + last seen)', (object) => {
      const differences = partialDiff(expected, object)
      if (isNot) return differences.length > 0
      if (differences.length > 0) throw new Error(`\n${formatDifferences(differences)}\n`)
      return true
    })
    return verdict(this, `${handle} is as expected`, () => handle.waitFor(matches, options))
  },
}

/** What was waited for under `not` is the opposite already, so success is always what the caller wants. */
async function verdict(
  { isNot = false }: MatcherState,
  claim: string,
  wait: () => Promise<unknown>,
): Promise<Verdict> {
  try {
    await wait()
    return { pass: !isNot, message: () => claim }
  } catch (thrown) {
    if (
      !isMayflyError(thrown) ||
      (thrown.code !== 'WAIT_TIMED_OUT' && thrown.code !== 'KUBE_OBJECT_FAILED')
    ) {
      throw thrown
    }
    return { pass: isNot, message: () => thrown.message }
  }
}

function handleOf(received: unknown, matcher: string): ObjectHandle {
  // Not instanceof: a test runner may load this module twice.
  if (typeof received === 'object' && received !== null && 'ref' in received && 'waitFor' in received)
    return received as ObjectHandle
  throw new TypeError(
    `${matcher} is about an object of the cluster, such as namespace.deployment('web') or namespace.object('widget/one'); got ${
      received === null || typeof received !== 'object'
        ? String(received)
        : (received.constructor?.name ?? 'an object')
    }`,
  )
}

/** A predicate that reads well where a wait for it fails. */
function named(name: string, predicate: (object: KubeObject) => boolean): (object: KubeObject) => boolean {
  return Object.defineProperty(predicate, 'name', { value: name })
}
