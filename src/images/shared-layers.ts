import { type ContainerMount, createVolume, type Engine } from '../engine/index.ts'
import type { Labels } from '../reaper/index.ts'

/** Where the nodes of a cluster have the volume that they share; `mayfly-node images-import` unpacks layers there. */
export const sharedLayersMount = '/mayfly/layers'

/**
 * Makes the volume of a cluster for layers that are streamed: one node unpacks them there, and the others link to them.
 *
 * @param labels Those of the cluster: the volume goes when the cluster goes
 * @returns Its name
 */
export async function createLayersVolume(engine: Engine, cluster: string, labels: Labels): Promise<string> {
  const name = layersVolume(cluster)
  await createVolume(engine, { name, labels })
  return name
}

/** The name of a cluster's volume for layers. */
export function layersVolume(cluster: string): string {
  return `mayfly-${cluster}-layers`
}

/** What a node container needs to share layers with the other nodes. */
export function sharedLayersMounts(volume: string | undefined): ContainerMount[] {
  return volume === undefined ? [] : [{ type: 'volume', source: volume, target: sharedLayersMount }]
}
