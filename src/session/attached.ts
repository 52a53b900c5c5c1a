import type { Cluster, ClusterNode } from '../cluster/index.ts'
import {
  type ApplyOptions,
  applyAll,
  connectKube,
  type Kube,
  type KubeObject,
  type ManifestSource,
  type ObjectRef,
} from '../kube/index.ts'
import type { MayflyContext } from './context.ts'
import { ObjectHandle } from './handle.ts'
import { limitsFromNow, limitsWithin } from './limits.ts'
import { type ManifestLoader, manifestLoader } from './manifest-loader.ts'

/** What tests do with a node. */
export type TestNode = Pick<
  ClusterNode,
  | 'name'
  | 'role'
  | 'addresses'
  | 'exec'
  | 'logs'
  | 'readFile'
  | 'writeFile'
  | 'pause'
  | 'unpause'
  | 'stop'
  | 'start'
>

/**
 * The cluster, for a test. It was made, and will be deleted, by the process that runs the tests.
 *
 * @public
 */
export interface TestCluster extends MayflyContextOfCluster {
  readonly nodes: readonly TestNode[]
  /** A connection to the API server. */
  readonly kube: Kube
  /** An object of the cluster, in whatever namespace or in none, whether it exists yet or not. */
  object<T extends object = KubeObject>(ref: ObjectRef, namespace?: string): ObjectHandle<T>
  /** Applies manifests as the test's namespace does, for what belongs to no namespace. */
  apply(sources: ManifestSource | readonly ManifestSource[], options?: ApplyOptions): Promise<KubeObject[]>
  /** @internal */
  readonly load: ManifestLoader
}

type MayflyContextOfCluster = Readonly<
  Pick<
    MayflyContext,
    'name' | 'kubeconfig' | 'kubeconfigPath' | 'internalKubeconfig' | 'images' | 'controlPlaneOnly'
  >
>

/** Connects to the cluster of a context. Nothing is sent before it is used. */
export function attachCluster(context: MayflyContext): TestCluster {
  const { name, kubeconfig, kubeconfigPath, internalKubeconfig, images, root, controlPlaneOnly } = context
  const kube = connectKube(kubeconfig, { controlPlaneOnly })
  const limits = limitsFromNow(0, undefined)
  let finding: Promise<Cluster> | undefined
  const handle = () => {
    finding ??= handleOf(name)
    return finding
  }
  const load = manifestLoader(root, handle)
  return {
    name,
    kubeconfig,
    kubeconfigPath,
    internalKubeconfig,
    images,
    controlPlaneOnly,
    kube,
    load,
    nodes: context.nodes.map((node) => lazyNode(node, handle)),
    object: (ref, namespace) => new ObjectHandle(kube, ref, namespace, limits),
    async apply(sources, options = {}) {
      const objects = await load(sources, options.signal)
      return applyAll(kube, objects, {
        ...options,
        ...limitsWithin(limits, {
          signal: options.signal,
          ...(options.timeoutMs !== undefined && { timeoutMs: options.timeoutMs }),
        }),
      })
    },
  }
}

/** The engine's client is big, and most tests only talk to the API server. */
async function handleOf(name: string): Promise<Cluster> {
  const { getCluster } = await import('../cluster/index.ts')
  return getCluster(name)
}

function lazyNode(context: MayflyContext['nodes'][number], handle: () => Promise<Cluster>): TestNode {
  const node = async () => (await handle()).node(context.name)
  return {
    ...context,
    exec: async (...given) => (await node()).exec(...given),
    logs: async (...given) => (await node()).logs(...given),
    readFile: async (...given) => (await node()).readFile(...given),
    writeFile: async (...given) => (await node()).writeFile(...given),
    pause: async () => (await node()).pause(),
    unpause: async () => (await node()).unpause(),
    stop: async (...given) => (await node()).stop(...given),
    start: async (...given) => (await node()).start(...given),
  }
}
