import { randomInt } from 'node:crypto'
import getPort from 'get-port'
import type { ClusterSpec, NodeSpec } from '../config/index.ts'

/** Ports of the host that are chosen here: below those that systems hand out to outgoing connections (32768 and up). */
const range = { from: 20_000, to: 30_000 }

/**
 * A port of the host that nobody has now. Engines choose another one at each start of a container, and whoever was told
 * the first would find nobody there.
 */
export async function freeHostPort(address: string): Promise<number> {
  const candidates = Array.from({ length: 20 }, () => randomInt(range.from, range.to))
  return getPort({ port: candidates, host: address })
}

/** The specification with a port for every mapping that leaves it open. */
export async function withHostPorts(spec: ClusterSpec): Promise<ClusterSpec> {
  return { ...spec, nodes: await Promise.all(spec.nodes.map(nodeWithHostPorts)) }
}

/** The node with a port for every mapping that leaves it open. */
export async function nodeWithHostPorts(node: NodeSpec): Promise<NodeSpec> {
  const mappings = node.extraPortMappings.map(async (mapping) => ({
    ...mapping,
    hostPort: mapping.hostPort || (await freeHostPort(mapping.listenAddress)),
  }))
  return { ...node, extraPortMappings: await Promise.all(mappings) }
}
