import { createHash } from 'node:crypto'
import { type Cluster, createCluster } from '../cluster/index.ts'
import { connectEngine } from '../engine/index.ts'
import { type ImageLoadReport, loadImages, nodeReference } from '../images/index.ts'
import { applyAll, type KubeObject, loadManifests, nameOf, patch, waitAvailable } from '../kube/index.ts'
import { createProgress, type Progress } from '../progress/index.ts'
import type { MayflyContext } from './context.ts'
import type { SessionPlan } from './options.ts'

/** A cluster with its images and manifests, ready for tests. */
export interface Session {
  context: MayflyContext
  /** Brings images whose content changed and manifests that changed since to the cluster, and restarts the pods that run such an image. */
  reload(): Promise<void>
  /** Deletes the cluster. */
  close(): Promise<void>
}

/**
 * Creates a cluster, loads the images and applies the manifests. What was made is removed again when any of it fails.
 *
 * @throws MayflyError what `createCluster`, `loadImages`, `loadManifests`, `applyAll` and `waitAvailable` throw
 */
export async function openSession(plan: SessionPlan): Promise<Session> {
  const progress = createProgress({ mode: plan.cluster.progress })
  // A manifest that cannot be read should be known before a cluster is made for it; a function may need the cluster's images.
  if (!plan.manifests.some((source) => typeof source === 'function')) {
    await loadManifests(plan.manifests, { cwd: plan.root })
  }
  let images: ImageLoadReport | undefined
  const cluster = await createCluster({
    ...plan.cluster,
    onNodesStarted: async (nodes, signal, progress) => {
      images = await loadPlanned(plan, nodes, progress, signal)
    },
  })
  try {
    const contents = new Map<string, string>()
    const target = { cluster, contents, progress }
    const objects = await applyPlanned(plan, target)
    return {
      context: contextOf(plan, cluster, images, objects),
      async reload() {
        const nodes = cluster.nodes.map(({ name }) => name)
        const fresh = await loadPlanned(plan, nodes, progress)
        await restartPods(cluster, fresh, await applyPlanned(plan, target), plan, progress)
      },
      close: () => progress.step(`Delete cluster ${cluster.name}`, () => cluster.delete()),
    }
  } catch (thrown) {
    await cluster.delete()
    throw thrown
  }
}

/** Starts as soon as nodes run, and is mostly done when the cluster is usable. */
async function loadPlanned(
  { images }: SessionPlan,
  nodes: readonly string[],
  progress: Progress,
  signal?: AbortSignal,
): Promise<ImageLoadReport | undefined> {
  if (images.length === 0) return undefined
  const engine = await connectEngine({ signal })
  const targets = nodes.map((name) => ({ name, containerId: name }))
  const step = images.length === 1 ? 'Load the image' : `Load ${images.length} images`
  const report = await progress.step(step, () => loadImages(engine, targets, images, { signal }))
  for (const { summary } of report.images) progress.note(summary)
  return report
}

interface Target {
  cluster: Cluster
  /** What was last applied: a hash of each object's content by its name. */
  contents: Map<string, string>
  progress: Progress
}

/** Applies what changed since it was last applied, and returns all objects. */
async function applyPlanned(
  plan: SessionPlan,
  { cluster, contents, progress }: Target,
): Promise<KubeObject[]> {
  const objects = await loadManifests(plan.manifests, { cwd: plan.root })
  const changed = objects.filter((object) => contents.get(nameOf(object)) !== contentOf(object))
  if (changed.length > 0) {
    await progress.step(`Apply ${changed.length} object${changed.length === 1 ? '' : 's'}`, async () => {
      const timeoutMs = plan.manifestsTimeoutMs
      const applied = await applyAll(cluster.kube, changed, { timeoutMs })
      await waitAvailable(cluster.kube, applied, { timeoutMs })
    })
    for (const object of changed) contents.set(nameOf(object), contentOf(object))
  }
  return objects
}

function contentOf(object: KubeObject): string {
  return createHash('sha256').update(JSON.stringify(object)).digest('hex')
}

/** Pods keep the image that they started with, so a new one under the same name needs new pods. */
async function restartPods(
  { kube }: Cluster,
  images: ImageLoadReport | undefined,
  objects: readonly KubeObject[],
  { manifestsTimeoutMs }: SessionPlan,
  progress: Progress,
): Promise<void> {
  const brought = (images?.images ?? []).filter(({ nodes }) =>
    Object.values(nodes).some((did) => did !== 'present'),
  )
  const names = new Set(brought.flatMap((image) => image.names))
  const concerned = objects.filter(
    ({ kind, spec }) =>
      ['Deployment', 'StatefulSet', 'DaemonSet'].includes(kind) &&
      containersOf(spec).some(({ image }) => image !== undefined && names.has(nodeReference(image))),
  )
  if (concerned.length === 0) return
  await progress.step(`Restart ${concerned.map(nameOf).join(', ')}`, async () => {
    const annotations = { 'io.mayfly.restarted-at': new Date().toISOString() }
    const body = { spec: { template: { metadata: { annotations } } } }
    await Promise.all(
      concerned.map((object) => patch(kube, object, body, { fieldManager: 'mayfly-restart' })),
    )
    await waitAvailable(kube, concerned, { timeoutMs: manifestsTimeoutMs })
  })
}

function containersOf(spec: KubeObject['spec']): { image?: string }[] {
  const pod = spec?.template?.spec
  return [...(pod?.initContainers ?? []), ...(pod?.containers ?? [])]
}

function contextOf(
  plan: SessionPlan,
  cluster: Cluster,
  images: ImageLoadReport | undefined,
  objects: readonly KubeObject[],
): MayflyContext {
  const withPods = objects.filter(({ kind, spec }) => kind === 'Pod' || spec?.template?.spec?.containers)
  return {
    name: cluster.name,
    kubeconfig: cluster.kubeconfig,
    kubeconfigPath: cluster.kubeconfigPath,
    internalKubeconfig: cluster.internalKubeconfig,
    nodes: cluster.nodes.map(({ name, role, addresses }) => ({ name, role, addresses: [...addresses] })),
    images: (images?.images ?? []).flatMap(({ names }) => names),
    manifestNamespaces: [
      ...new Set(withPods.map(({ metadata }) => metadata.namespace ?? cluster.kube.access.namespace)),
    ],
    root: plan.root,
    keepFailedNamespaces: plan.keepFailedNamespaces,
    diagnosticsDir: plan.diagnosticsDir,
  }
}
