import type { Engine } from '../src/engine/index.ts'
import { type Cluster, createCluster } from '../src/index.ts'
import { waitUntilUsable } from './usable.ts'

/** How an image gets into a cluster; kind knows one way only. */
export type LoadWay = 'auto' | 'stream' | 'zero-copy'

/** How many nodes a cluster has. */
export interface Shape {
  controlPlanes?: number
  workers?: number
  /** Tells clusters apart that are there at the same time: the cluster is called `mayfly-bench-NAME`. */
  name?: string
  /** A node image in kind's own layout, instead of the one that both sides have otherwise. */
  kindest?: string
}

/** A cluster of one side. */
export interface RunningCluster extends AsyncDisposable {
  /** Names of the nodes' containers. */
  nodes: readonly string[]
  kubeconfig: string
  load(image: string, way: LoadWay): Promise<void>
  delete(): Promise<void>
}

/** One of the two sides: what makes clusters. */
export interface Tool {
  name: string
  /** Creates a cluster; by the tool's own word it is there, nothing else was checked. */
  create(shape?: Shape): Promise<RunningCluster>
}

/** A cluster with so many nodes, one of them a control plane. */
export function nodes(count: number): Shape {
  return { workers: count - 1 }
}

/** Creates a cluster and waits until the probe of both sides finds it usable. */
export async function createUsable(tool: Tool, engine: Engine, shape?: Shape): Promise<RunningCluster> {
  const since = new Date()
  const cluster = await tool.create(shape)
  try {
    await waitUntilUsable(engine, { ...cluster, since })
    return cluster
  } catch (thrown) {
    await cluster.delete()
    throw thrown
  }
}

/** Our side. */
export function mayflyTool(image: string): Tool {
  return {
    name: 'mayfly',
    async create(shape) {
      const cluster = await createMayfly(image, shape)
      return {
        nodes: cluster.nodes.map(({ name }) => name),
        kubeconfig: cluster.kubeconfig,
        load: async (source, strategy) => void (await cluster.loadImages([source], { strategy })),
        delete: () => cluster.delete(),
        [Symbol.asyncDispose]: () => cluster.delete(),
      }
    },
  }
}

/** The same with everything that a cluster of ours can do. */
export function createMayfly(
  image: string,
  { controlPlanes = 1, workers = 0, name, kindest }: Shape = {},
): Promise<Cluster> {
  const roles = [
    ...Array<'control-plane'>(controlPlanes).fill('control-plane'),
    ...Array<'worker'>(workers).fill('worker'),
  ]
  return createCluster({
    nodes: roles,
    image: kindest ?? image,
    progress: 'silent',
    ...(name !== undefined && { name: `mayfly-bench-${name}` }),
  })
}
