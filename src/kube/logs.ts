import type { Kube } from './connection.ts'
import { type KubeObject, partsOf } from './objects.ts'
import { assertPodsRun } from './pods-run.ts'
import { lines } from './watch.ts'

/**
 * Names a pod: its name, or the object.
 *
 * @public
 */
export type PodRef = string | KubeObject | { name: string; namespace?: string }

/**
 * Which part of a log is meant.
 *
 * @public
 */
export interface PodLogOptions {
  /** For a pod named without one; default: the kubeconfig's own. */
  namespace?: string | undefined
  /** Default: the pod's only container, or the one that its `kubectl.kubernetes.io/default-container` annotation names. */
  container?: string | undefined
  /** The log of the container's run before this one. */
  previous?: boolean
  /** Only what was written at or after this time. */
  sinceTime?: Date | string
  /** Only so many lines from the end. */
  tailLines?: number
  /** An RFC 3339 time at the start of each line. */
  timestamps?: boolean
  signal?: AbortSignal | undefined
}

/**
 * What a container has written so far.
 *
 * @throws MayflyError `KUBE_REQUEST_FAILED`, also while the container has not started
 * @public
 */
export async function podLogs(kube: Kube, pod: PodRef, options: PodLogOptions = {}): Promise<string> {
  const { path, label } = locatePod(kube, pod, options.namespace)
  assertPodsRun(kube, `read the log of ${label}`)
  return kube.request<string>('GET', `${path}/log`, {
    ...logRequest(options, false),
    doing: `read the log of ${label}`,
  })
}

/**
 * What a container has written and will write, line by line, until it ends or the signal fires.
 *
 * @throws MayflyError `KUBE_REQUEST_FAILED`, also while the container has not started
 * @public
 */
export async function* followPodLogs(
  kube: Kube,
  pod: PodRef,
  options: PodLogOptions = {},
): AsyncGenerator<string> {
  const { path, label } = locatePod(kube, pod, options.namespace)
  assertPodsRun(kube, `follow the log of ${label}`)
  try {
    yield* lines(
      await kube.open('GET', `${path}/log`, {
        ...logRequest(options, true),
        idleTimeoutMs: 0,
        doing: `follow the log of ${label}`,
      }),
    )
  } catch (thrown) {
    if (!options.signal?.aborted) throw thrown
  }
}

function logRequest(
  { container, previous, sinceTime, tailLines, timestamps, signal }: PodLogOptions,
  follow: boolean,
) {
  return {
    query: {
      container,
      previous,
      tailLines,
      timestamps,
      follow: follow || undefined,
      sinceTime: sinceTime instanceof Date ? sinceTime.toISOString() : sinceTime,
    },
    signal,
  }
}

/** Where a pod is; kinds need no look-up for it. */
export function locatePod(kube: Kube, pod: PodRef, namespace = kube.access.namespace) {
  const ref =
    typeof pod === 'string'
      ? { kind: 'Pod', name: pod.replace(/^pods?\//, '') }
      : 'kind' in pod
        ? pod
        : { kind: 'Pod', ...pod }
  const { name, namespace: own } = partsOf(ref)
  const within = own ?? namespace
  return {
    name,
    namespace: within,
    path: `/api/v1/namespaces/${within}/pods/${name}`,
    label: `Pod ${within}/${name}`,
  }
}
