import { randomInt } from 'node:crypto'
import {
  type ApplyOptions,
  applyAll,
  create,
  type ExecResult,
  events,
  type KindRef,
  type Kube,
  type KubeEvent,
  type KubeObject,
  type ListOptions,
  list,
  type ManifestSource,
  type ObjectRef,
  type PodLogOptions,
  type PortForward,
  type RemoveOptions,
  remove,
  type WaitCondition,
  waitFor,
} from '../kube/index.ts'
import { type CurlOptions, type CurlResponse, curl } from './curl.ts'
import { ObjectHandle, type PodExecOptions } from './handle.ts'
import { anyOf, limitsWithin, type TestLimits, type WaitOptions } from './limits.ts'
import type { ManifestLoader } from './manifest-loader.ts'

/**
 * A namespace of one test's own. What it waits for ends shortly before the test's own time-out, and with the test.
 *
 * References such as `deployment/web` are as kubectl takes them; a bare name given to `exec` and its like is a pod's.
 *
 * @public
 */
export class TestNamespace {
  readonly name: string
  readonly kube: Kube
  readonly #test: TestLimits
  readonly #load: ManifestLoader

  /** @internal */
  constructor(kube: Kube, name: string, load: ManifestLoader, test: TestLimits) {
    this.kube = kube
    this.name = name
    this.#load = load
    this.#test = test
  }

  #options() {
    return { namespace: this.name, signal: this.#test.signal }
  }

  /**
   * Applies manifests by server-side apply, in order of dependency. Objects that name no namespace get this one.
   *
   * @param sources Files, folders, globs, kustomizations, YAML text, objects or functions; paths start from the project's root
   * @returns The objects as the server has them now
   * @throws MayflyError `MANIFEST_INVALID`, `APPLY_FAILED` naming every object that was refused, and why
   */
  async apply(
    sources: ManifestSource | readonly ManifestSource[],
    options: Omit<ApplyOptions, 'namespace'> = {},
  ): Promise<KubeObject[]> {
    const objects = await this.#load(sources, options.signal)
    const { timeoutMs, signal } = limitsWithin(this.#test, options)
    return applyAll(this.kube, objects, { ...options, namespace: this.name, timeoutMs, signal })
  }

  /** Creates an object, which may have a `generateName`. */
  create<T extends object = KubeObject>(object: KubeObject): Promise<T> {
    return create<T>(this.kube, object, this.#options())
  }

  /** The object of a reference, whether it exists yet or not. */
  object<T extends object = KubeObject>(ref: ObjectRef): ObjectHandle<T> {
    return new ObjectHandle<T>(this.kube, ref, this.name, this.#test)
  }

  deployment(name: string): ObjectHandle {
    return this.object({ apiVersion: 'apps/v1', kind: 'Deployment', name })
  }

  statefulSet(name: string): ObjectHandle {
    return this.object({ apiVersion: 'apps/v1', kind: 'StatefulSet', name })
  }

  daemonSet(name: string): ObjectHandle {
    return this.object({ apiVersion: 'apps/v1', kind: 'DaemonSet', name })
  }

  job(name: string): ObjectHandle {
    return this.object({ apiVersion: 'batch/v1', kind: 'Job', name })
  }

  pod(name: string): ObjectHandle {
    return this.object({ apiVersion: 'v1', kind: 'Pod', name })
  }

  service(name: string): ObjectHandle {
    return this.object({ apiVersion: 'v1', kind: 'Service', name })
  }

  configMap(name: string): ObjectHandle {
    return this.object({ apiVersion: 'v1', kind: 'ConfigMap', name })
  }

  secret(name: string): ObjectHandle {
    return this.object({ apiVersion: 'v1', kind: 'Secret', name })
  }

  /** Reads an object; fails when it does not exist. */
  get<T extends object = KubeObject>(ref: ObjectRef): Promise<T> {
    return this.object<T>(ref).get()
  }

  /** Reads an object, or gives `undefined` where there is none. */
  find<T extends object = KubeObject>(ref: ObjectRef): Promise<T | undefined> {
    return this.object<T>(ref).find()
  }

  /** Reads all objects of a kind. */
  list<T extends object = KubeObject>(
    kind: KindRef,
    options: Pick<ListOptions, 'labelSelector' | 'fieldSelector'> = {},
  ): Promise<T[]> {
    return list<T>(this.kube, kind, { ...options, ...this.#options() })
  }

  /** Asks for an object's deletion, without waiting for it; says whether there was one. */
  delete(ref: ObjectRef, options: RemoveOptions = {}): Promise<boolean> {
    return this.object(ref).delete(options)
  }

  /**
   * Waits, by watching, until an object is as asked for.
   *
   * @throws MayflyError `WAIT_TIMED_OUT` or `WAIT_ABORTED` with what was last seen of it
   */
  waitFor<T extends object = KubeObject>(
    ref: ObjectRef,
    condition: WaitCondition<T>,
    options?: WaitOptions,
  ): Promise<T> {
    return this.object<T>(ref).waitFor(condition, options)
  }

  /** Runs a command in a pod, or in one of the pods of a workload, without a shell. */
  exec(ref: ObjectRef, argv: readonly string[], options?: PodExecOptions): Promise<ExecResult> {
    return this.object(podByDefault(ref)).exec(argv, options)
  }

  /** What a pod, or the pods of a workload, have written so far. */
  logs(ref: ObjectRef, options?: PodLogOptions): Promise<string> {
    return this.object(podByDefault(ref)).logs(options)
  }

  /** What a pod, or one of the pods of a workload, has written and will write, line by line. */
  followLogs(ref: ObjectRef, options?: PodLogOptions): AsyncGenerator<string> {
    return this.object(podByDefault(ref)).followLogs(options)
  }

  /** Opens a port on 127.0.0.1 that leads to a port of a pod, or of a pod behind a Service or workload. */
  portForward(ref: ObjectRef, port: number | string, options?: WaitOptions): Promise<PortForward> {
    return this.object(podByDefault(ref)).portForward(port, options)
  }

  /**
   * Makes an HTTP request from a pod of this namespace, `mayfly-curl`, which the first request starts.
   *
   * @throws MayflyError `WAIT_TIMED_OUT` with the reason why there was no answer; a status of 400 and above is no error
   */
  curl(url: string | URL, options: CurlOptions = {}): Promise<CurlResponse> {
    const { signal, timeoutMs = Math.min(10_000, limitsWithin(this.#test).timeoutMs) } = options
    return curl(this.kube, this.name, url, options, {
      timeoutMs,
      signal: anyOf(this.#test.signal, signal),
    })
  }

  /** The events of this namespace, the oldest first. */
  events(about?: KubeObject): Promise<KubeEvent[]> {
    return events(this.kube, this.name, { ...(about && { about }), signal: this.#test.signal })
  }
}

function podByDefault(ref: ObjectRef): ObjectRef {
  return typeof ref === 'string' && !ref.includes('/') ? { apiVersion: 'v1', kind: 'Pod', name: ref } : ref
}

/** Letters and digits that nobody takes for one another. */
const alphabet = 'bcdfghjkmnpqrstvwxz2456789'

/** A name for the namespace of a test: what is legible of the test's name, and five random characters. */
export function namespaceNameFor(testName: string): string {
  const legible = testName
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .slice(0, 40)
    .replaceAll(/^[-\d]+|-+$/g, '')
  const random = Array.from({ length: 5 }, () => alphabet[randomInt(alphabet.length)]).join('')
  return `${legible || 'test'}-${random}`
}

/** Creates the namespace of a test; when this returns, pods can be created in it. */
export async function createNamespace(
  kube: Kube,
  testName: string,
  load: ManifestLoader,
  test: TestLimits,
): Promise<TestNamespace> {
  const name = namespaceNameFor(testName)
  const limits = limitsWithin(test)
  await create(
    kube,
    {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: {
        name,
        labels: { 'io.mayfly/part': 'test' },
        annotations: { 'io.mayfly/test': testName },
      },
    },
    { signal: limits.signal },
  )
  // No pod is admitted before its ServiceAccount is there.
  const account = { apiVersion: 'v1', kind: 'ServiceAccount', name: 'default', namespace: name }
  await waitFor(kube, account, 'exists', limits)
  return new TestNamespace(kube, name, load, test)
}

/** Asks for the deletion of a test's namespace; its end is nobody's to wait for. */
export async function deleteNamespace({ kube, name }: TestNamespace): Promise<void> {
  await remove(kube, { apiVersion: 'v1', kind: 'Namespace', name }, { signal: AbortSignal.timeout(10_000) })
}
