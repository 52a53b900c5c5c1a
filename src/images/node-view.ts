import { type Engine, engineStatus, inspectContainer } from '../engine/index.ts'
import { MayflyError } from '../errors.ts'
import { databaseMount, layersMount } from './engine-store.ts'
import { sharedLayersMount } from './shared-layers.ts'

/** A node that images go to. */
export interface ImageNode {
  name: string
  containerId: string
}

/** What is known of a node before it is asked. */
export interface NodeView extends ImageNode {
  /** In full, so that it is the same node only as long as its container is. */
  containerId: string
  labels: Record<string, string>
  /** Id of the image that its container runs. */
  imageId: string
  /** It sees the engine's own layers. */
  seesEngineStore: boolean
  /** The volume for layers that it shares with others, if any. */
  layersVolume: string | undefined
}

/**
 * Looks at a node's container.
 *
 * @throws MayflyError `IMAGE_LOAD_FAILED` when it is not there or does not run
 */
export async function viewNode(
  engine: Engine,
  node: ImageNode,
  signal: AbortSignal | undefined,
): Promise<NodeView> {
  const inspected = await inspectContainer(engine, node.containerId, { signal }).catch((thrown: unknown) => {
    if (engineStatus(thrown) === 404) throw loadFailed(node, 'its container is gone', { cause: thrown })
    throw thrown
  })
  if (!inspected.State.Running || inspected.State.Paused) {
    throw loadFailed(node, `its container is ${inspected.State.Status}`)
  }
  const targets = inspected.Mounts.map(({ Destination }) => Destination)
  return {
    name: node.name,
    containerId: inspected.Id,
    labels: inspected.Config.Labels ?? {},
    imageId: inspected.Image,
    seesEngineStore: targets.includes(layersMount) && targets.includes(databaseMount),
    layersVolume: inspected.Mounts.find(({ Destination }) => Destination === sharedLayersMount)?.Name,
  }
}

/** The error for a node that an image could not be loaded into. */
export function loadFailed(
  { name }: ImageNode,
  why: string,
  parts: { output?: string; cause?: unknown } = {},
): MayflyError {
  const { output = '' } = parts
  const hint = /no space left on device/i.test(output)
    ? "the node's disk is full: remove images and volumes that are not needed, e.g. with `docker system prune`"
    : undefined
  return new MayflyError('IMAGE_LOAD_FAILED', `Can't load images into node "${name}": ${why}`, {
    ...parts,
    ...(hint && { hint }),
  })
}
