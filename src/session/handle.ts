import {
  assertPodsRun,
  type ExecResult,
  execInPod,
  find,
  followPodLogs,
  get,
  type Kube,
  type KubeObject,
  list,
  nameOf,
  type ObjectRef,
  type PatchOptions,
  type PodLogOptions,
  type PortForward,
  patch,
  podLogs,
  portForward,
  type RemoveOptions,
  remove,
  type WaitCondition,
  waitFor,
} from '../kube/index.ts'
import { until, type WaitLimits } from '../wait.ts'
import { anyOf, limitsWithin, type TestLimits, type WaitOptions } from './limits.ts'

/** How a command is run in a pod. */
export interface PodExecOptions extends WaitOptions {
  /** Default: the pod's default or first container. */
  container?: string
  /** What the command reads; it reads nothing when left out. */
  stdin?: string | Uint8Array | AsyncIterable<string | Uint8Array>
}

/**
 * One object of the cluster, whether it exists yet or not; what matchers such as `toBecomeAvailable` are asked about.
 *
 * @public
 */
export class ObjectHandle<T extends object = KubeObject> {
  readonly kube: Kube
  readonly ref: ObjectRef
  readonly namespace: string | undefined
  readonly #test: TestLimits

  /** @internal */
  constructor(kube: Kube, ref: ObjectRef, namespace: string | undefined, test: TestLimits) {
    this.kube = kube
    this.ref = ref
    this.namespace = namespace
    this.#test = test
  }

  /** How it reads in a message. */
  toString(): string {
    const within = this.namespace ? ` in ${this.namespace}` : ''
    if (typeof this.ref === 'string') return `${this.ref}${within}`
    return 'metadata' in this.ref
      ? nameOf(this.ref as KubeObject)
      : `${this.ref.kind} ${this.ref.name}${within}`
  }

  /** @internal */
  limits(options?: WaitOptions): WaitLimits {
    return limitsWithin(this.#test, options)
  }

  #options() {
    return { namespace: this.namespace, signal: this.#test.signal }
  }

  /**
   * Reads it.
   *
   * @throws MayflyError `KUBE_REQUEST_FAILED`, also when it does not exist
   */
  get(): Promise<T> {
    return get<T>(this.kube, this.ref, this.#options())
  }

  /** Reads it, or gives `undefined` where there is none. */
  find(): Promise<T | undefined> {
    return find<T>(this.kube, this.ref, this.#options())
  }

  /** Changes it; by default with a merge patch. */
  patch(change: object, options: PatchOptions = {}): Promise<T> {
    return patch<T>(this.kube, this.ref, change, { ...this.#options(), ...options })
  }

  /** Asks for its deletion, without waiting for it; says whether there was one. */
  delete(options: RemoveOptions = {}): Promise<boolean> {
    return remove(this.kube, this.ref, { ...this.#options(), ...options })
  }

  /**
   * Waits, by watching, until it is as asked for.
   *
   * @returns The object as it was then; nothing for `deleted`
   * @throws MayflyError `WAIT_TIMED_OUT` or `WAIT_ABORTED` with what was last seen
   */
  waitFor(condition: WaitCondition<T>, options?: WaitOptions): Promise<T> {
    return waitFor<T>(this.kube, this.ref, condition, {
      ...this.limits(options),
      namespace: this.namespace,
    })
  }

  /** The pods that it selects, or itself when it is one; those that run first. */
  async pods(): Promise<KubeObject[]> {
    const object = (await this.get()) as unknown as KubeObject
    if (object.kind === 'Pod') return [object]
    const selector = object.spec?.selector?.matchLabels ?? object.spec?.selector ?? {}
    const labelSelector = Object.entries(selector)
      .map(([key, value]) => `${key}=${value}`)
      .join(',')
    if (!labelSelector) return []
    const options = { namespace: object.metadata.namespace, labelSelector, signal: this.#test.signal }
    const pods = await list(this.kube, { apiVersion: 'v1', kind: 'Pod' }, options)
    return pods.sort((one, other) => Number(runs(other)) - Number(runs(one)))
  }

  /**
   * Runs a command in a container of it, or of one of its pods, without a shell; waits for a pod that runs.
   *
   * @returns Its exit code, whatever it is, and what it wrote
   */
  async exec(
    argv: readonly string[],
    { timeoutMs, signal, ...options }: PodExecOptions = {},
  ): Promise<ExecResult> {
    const pod = await this.#runningPod({ ...(timeoutMs !== undefined && { timeoutMs }), signal })
    const timer = timeoutMs === undefined ? undefined : AbortSignal.timeout(timeoutMs)
    const limit = anyOf(anyOf(this.#test.signal, signal), timer)
    return execInPod(this.kube, pod, argv, { ...options, signal: limit })
  }

  /** What its pods have written so far, one after the other. */
  async logs(options: PodLogOptions = {}): Promise<string> {
    assertPodsRun(this.kube, `read the logs of ${this}`)
    const pods = await this.pods()
    const signal = anyOf(this.#test.signal, options.signal)
    const logs = await Promise.all(pods.map((pod) => podLogs(this.kube, pod, { ...options, signal })))
    return logs.join('')
  }

  /** What one of its pods has written and will write, line by line, until the test ends. */
  async *followLogs(options: PodLogOptions = {}): AsyncGenerator<string> {
    const signal = anyOf(this.#test.signal, options.signal)
    yield* followPodLogs(this.kube, await this.#runningPod({ signal }), { ...options, signal })
  }

  /** Opens a port on 127.0.0.1 that leads to a port of one of its pods, until the test ends or it is closed. */
  portForward(port: number | string, options: WaitOptions = {}): Promise<PortForward> {
    const { timeoutMs } = this.limits(options)
    const signal = anyOf(this.#test.signal, options.signal)
    return portForward(this.kube, this.ref, port, { namespace: this.namespace, timeoutMs, signal })
  }

  async #runningPod(options: WaitOptions): Promise<KubeObject> {
    assertPodsRun(this.kube, `find a pod of ${this} that runs`)
    return until(
      `a pod of ${this} that runs`,
      async (_, report) => {
        const pods = await this.pods()
        report(
          pods.map(({ metadata, status }) => `Pod ${metadata.name} ${status?.phase}`).join(', ') || 'no pod',
        )
        return pods.find(runs)
      },
      this.limits(options),
    )
  }
}

function runs({ metadata, status }: KubeObject): boolean {
  return status?.phase === 'Running' && !metadata.deletionTimestamp
}
