import type { Cluster } from '../cluster/index.ts'
import { nodeReference } from '../images/index.ts'
import {
  find,
  type Kube,
  type KubeObject,
  list,
  nameOf,
  patch,
  remove,
  waitAvailable,
  waitFor,
} from '../kube/index.ts'
import type { Progress } from '../progress/index.ts'
import { until, type WaitLimits } from '../wait.ts'

/**
 * Replaces the pods of all workloads that run one of these images: pods keep the image that they started with, so a new
 * one under the same name needs new pods. Returns when the new pods are available and the old ones are gone, so that
 * nothing is answered, reconciled or logged by old code any more.
 *
 * @param images As nodes name them
 * @throws MayflyError what {@link waitAvailable} and {@link waitFor} throw
 */
export async function restartPods(
  images: readonly string[],
  objects: readonly KubeObject[],
  { cluster, progress, ...limits }: WaitLimits & { cluster: Cluster; progress: Progress },
): Promise<void> {
  const concerned = objects.filter(
    ({ kind, spec }) =>
      ['Deployment', 'StatefulSet', 'DaemonSet'].includes(kind) &&
      containersOf(spec).some(({ image }) => image !== undefined && images.includes(nodeReference(image))),
  )
  if (concerned.length === 0) return
  const { kube } = cluster
  await progress.step(`Restart ${concerned.map(nameOf).join(', ')}`, async () => {
    const old = (await Promise.all(concerned.map((object) => podsOf(kube, object, limits)))).flat()
    const annotations = { 'io.mayfly.restarted-at': new Date().toISOString() }
    const body = { spec: { template: { metadata: { annotations } } } }
    await Promise.all(
      concerned.map((object) => patch(kube, object, body, { fieldManager: 'mayfly-restart' })),
    )
    await waitAvailable(kube, concerned, limits)
    await Promise.all(old.map((pod) => endPod(kube, pod, limits)))
    await endedOnNodes(cluster, old, limits)
  })
}

async function podsOf(kube: Kube, workload: KubeObject, { signal }: WaitLimits): Promise<KubeObject[]> {
  const namespace = workload.metadata.namespace ?? kube.access.namespace
  return list(kube, 'pods', { namespace, labelSelector: selectorOf(workload), signal })
}

/** Pods that take their time to end, or ignore that they are asked to, are not waited for that long. */
async function endPod(kube: Kube, pod: KubeObject, limits: WaitLimits): Promise<void> {
  const current = await find(kube, pod, limits)
  if (current?.metadata.uid !== pod.metadata.uid) return
  await remove(kube, pod, { gracePeriodSeconds: 1, signal: limits.signal })
  await waitFor(kube, pod, 'deleted', limits)
}

/** A pod without a grace period is gone from the API before its processes are. */
async function endedOnNodes(
  cluster: Cluster,
  pods: readonly KubeObject[],
  limits: WaitLimits,
): Promise<void> {
  const uids = new Set(pods.map(({ metadata }) => metadata.uid))
  const names = new Set(pods.map(({ spec }) => spec?.nodeName))
  const nodes = cluster.nodes.filter(({ name }) => names.has(name))
  await Promise.all(
    nodes.map((node) =>
      until(
        `old pods on node ${node.name} to end`,
        async (signal) => {
          const { stdout } = await node.exec(['crictl', 'pods', '-o', 'json'], { signal })
          const { items } = JSON.parse(stdout) as { items: Sandbox[] }
          return (
            !items.some(({ metadata, state }) => state === 'SANDBOX_READY' && uids.has(metadata.uid)) ||
            undefined
          )
        },
        { ...limits, intervalMs: 100 },
      ),
    ),
  )
}

/** Of the answer to `crictl pods -o json`. */
interface Sandbox {
  state: string
  metadata: { uid: string }
}

function selectorOf({ spec }: KubeObject): string {
  const labels: Record<string, string> = spec?.selector?.matchLabels ?? spec?.template?.metadata?.labels ?? {}
  return Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(',')
}

function containersOf(spec: KubeObject['spec']): { image?: string }[] {
  const pod = spec?.template?.spec
  return [...(pod?.initContainers ?? []), ...(pod?.containers ?? [])]
}
