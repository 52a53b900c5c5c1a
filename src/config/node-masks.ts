import type { Cidr } from './cidr.ts'

/** Prefix lengths of the parts of pod subnets that the controller manager gives nodes, unless it is told otherwise. */
export const ordinaryNodeMaskSizes = { 4: 24, 6: 64 } as const

/** The controller manager keeps book of no more nodes than this many bits count. */
const mostNodeBits = 16

/** A node with less than 16 addresses would have no room for much beside the pods that every cluster brings. */
export const longestNodeMaskSizes = { 4: 28, 6: 124 } as const

/**
 * The prefix length of the part of a pod subnet that each node gets: the ordinary one where the subnet has room for that
 * many, else as short as it may be. Either way one node more has room, for nodes come and go.
 */
export function nodeMaskSize({ family, prefix }: Cidr, nodes: number): number {
  const ordinary = Math.min(ordinaryNodeMaskSizes[family], prefix + mostNodeBits)
  return Math.max(ordinary, prefix + Math.ceil(Math.log2(nodes + 1)))
}
