import { createHash } from 'node:crypto'
import type { ClusterContext } from '../broker/index.ts'
import { type Cluster, createCluster } from '../cluster/index.ts'
import { connectEngine } from '../engine/index.ts'
import { checkSources, type ImageLoadReport, loadImages } from '../images/index.ts'
import { applyAll, type KubeObject, nameOf, waitAvailable } from '../kube/index.ts'
import type { Progress, ProgressMode } from '../progress/index.ts'
import { checkManifests, manifestLoader } from './manifest-loader.ts'
import type { SessionPlan } from './options.ts'
import { restartPods } from './restart-pods.ts'

/** A cluster with its images and manifests, ready for tests. */
export interface PreparedCluster {
  cluster: Cluster
  context: ClusterContext
  /**
   * Brings images whose content changed and manifests that changed since to the cluster, and restarts the pods that run
   * such an image.
   *
   * @returns Whether there was anything to bring
   */
  refresh(): Promise<boolean>
}

/** How one of a plan's clusters is made. */
export interface PrepareOptions {
  name: string
  /** Shows each step. */
  progress: Progress
  /** How the steps of the cluster's own creation are shown; default as the plan has it. */
  mode?: ProgressMode
  signal?: AbortSignal | undefined
}

/**
 * Creates a cluster, loads the images and applies the manifests. What was made is removed again when any of it fails.
 *
 * @throws MayflyError what `createCluster`, `checkSources`, `loadImages`, `loadManifests`, `applyAll` and `waitAvailable` throw
 */
export async function prepareCluster(
  plan: SessionPlan,
  { name, progress, mode, signal }: PrepareOptions,
): Promise<PreparedCluster> {
  // What is missing should be known before a cluster is made for it.
  await Promise.all([
    checkManifests(plan.manifests, plan.root, signal),
    connectEngine({ signal }).then((engine) => checkSources(engine, plan.images, signal)),
  ])
  let images: ImageLoadReport | undefined
  const cluster = await createCluster({
    ...plan.cluster,
    name,
    ...(mode && { progress: mode }),
    ...(signal && { signal }),
    onNodesStarted: async (nodes, limit, progress) => {
      images = await loadPlanned(plan, nodes, progress, limit)
    },
  })
  try {
    const target = { cluster, contents: new Map<string, string>(), progress, signal }
    const { objects } = await applyPlanned(plan, target)
    return {
      cluster,
      context: contextOf(cluster, images, objects),
      async refresh() {
        const nodes = cluster.nodes.map((node) => node.name)
        const loaded = await loadPlanned(plan, nodes, progress, signal)
        const brought = imagesBrought(loaded)
        const { objects, changed } = await applyPlanned(plan, target)
        await restartPods(brought, objects, {
          ...{ cluster, progress, signal },
          timeoutMs: plan.manifestsTimeoutMs,
        })
        return brought.length > 0 || changed > 0
      },
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
  signal: AbortSignal | undefined
}

/** Applies what changed since it was last applied. */
async function applyPlanned(
  plan: SessionPlan,
  { cluster, contents, progress, signal }: Target,
): Promise<{ objects: KubeObject[]; changed: number }> {
  const objects = await manifestLoader(plan.root, async () => cluster)(plan.manifests, signal)
  const changed = objects.filter((object) => contents.get(nameOf(object)) !== contentOf(object))
  if (changed.length > 0) {
    await progress.step(`Apply ${changed.length} object${changed.length === 1 ? '' : 's'}`, async () => {
      const limits = { timeoutMs: plan.manifestsTimeoutMs, signal }
      await waitAvailable(cluster.kube, await applyAll(cluster.kube, changed, limits), limits)
    })
    for (const object of changed) contents.set(nameOf(object), contentOf(object))
  }
  return { objects, changed: changed.length }
}

function contentOf(object: KubeObject): string {
  return createHash('sha256').update(JSON.stringify(object)).digest('hex')
}

/** Names of the images that some node did not have. */
function imagesBrought(report: ImageLoadReport | undefined): string[] {
  const brought = (report?.images ?? []).filter(({ nodes }) =>
    Object.values(nodes).some((did) => did !== 'present'),
  )
  return brought.flatMap(({ names }) => names)
}

function contextOf(
  cluster: Cluster,
  images: ImageLoadReport | undefined,
  objects: readonly KubeObject[],
): ClusterContext {
  const withPods = objects.filter(({ kind, spec }) => kind === 'Pod' || spec?.template?.spec?.containers)
  return {
    name: cluster.name,
    kubeconfig: cluster.kubeconfig,
    kubeconfigPath: cluster.kubeconfigPath,
    internalKubeconfig: cluster.internalKubeconfig,
    nodes: cluster.nodes.map(({ name, role, addresses }) => ({ name, role, addresses: [...addresses] })),
    images: (images?.images ?? []).flatMap(({ names }) => names),
    controlPlaneOnly: cluster.controlPlaneOnly,
    manifestNamespaces: [
      ...new Set(withPods.map(({ metadata }) => metadata.namespace ?? cluster.kube.access.namespace)),
    ],
  }
}
