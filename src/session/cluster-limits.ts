import { type CreateClusterOptions, clusterSpecOf } from '../cluster/index.ts'
import type { ClusterSpec } from '../config/index.ts'
import { connectEngine, memoryAvailable, memoryNeeded } from '../engine/index.ts'

/** How many clusters of a kind there can be at a time. */
export interface ClusterLimits {
  clusters: number
  /** Clusters that are created at a time. */
  creations: number
}

/**
 * How many clusters of a configuration the engine's host carries. An idle cluster takes a tenth of a processor, one under
 * test as much as the tests make it; its creation takes two for some seconds.
 */
export async function clusterLimits(spec: ClusterSpec): Promise<ClusterLimits> {
  const engine = await connectEngine()
  const byMemory = (await memoryAvailable(engine)) / memoryNeeded(rolesOf(spec))
  return {
    clusters: Math.max(1, Math.floor(Math.min(engine.cpus, byMemory))),
    creations: Math.max(1, Math.floor(engine.cpus / 2)),
  }
}

function rolesOf({ nodes, controlPlaneOnly }: ClusterSpec) {
  return nodes.map(({ role }) => (controlPlaneOnly ? 'control-plane-only' : role))
}

/**
 * Why there can't be two clusters of these options at a time, as it reads after "because"; `undefined` where there can.
 *
 * @param one The configuration of the first
 */
export async function reasonForOneOnly(
  options: CreateClusterOptions,
  one: ClusterSpec,
): Promise<string | undefined> {
  // Not a longer form of the first one's name, which may be as long as names can be.
  const other = await clusterSpecOf({ ...options, name: one.name === 'other' ? 'one' : 'other' })
  const { networking, nodes } = one
  if (networking.apiServerPort !== 0) return `networking.apiServerPort is ${networking.apiServerPort}`
  const port = nodes.flatMap((node) => node.extraPortMappings).find(({ hostPort }) => hostPort !== 0)
  if (port) return `port ${port.hostPort} of the host leads to a node`
  const named = nodes.find(({ name }) => other.nodes.some((node) => node.name === name))
  return named && `a node is named ${named.name}`
}
