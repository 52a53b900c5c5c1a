import { randomInt } from 'node:crypto'
import type { ClusterSpec } from '../config/index.ts'
import { createNetwork, type Engine, engineStatus, type Network, randomUlaSubnet } from '../engine/index.ts'
import { MayflyError } from '../errors.ts'
import type { Labels } from '../reaper/index.ts'
import { familiesOf, type NodeSubnets } from './plan.ts'

/** Attempts to find a subnet that nobody else uses, before giving up. */
const attempts = 12

/** The container network of a cluster. */
export function networkName({ name }: Pick<ClusterSpec, 'name'>): string {
  return `mayfly-${name}`
}

/**
 * Makes the cluster's network, and takes its name with it.
 *
 * @throws MayflyError `CLUSTER_EXISTS` when somebody else has the name
 */
export async function claimNetwork(
  engine: Engine,
  spec: ClusterSpec,
  labels: Labels,
): ReturnType<typeof createClusterNetwork> {
  try {
    return await createClusterNetwork(engine, networkName(spec), familiesOf(spec), labels)
  } catch (thrown) {
    if (engineStatus(thrown) !== 409) throw thrown
    throw new MayflyError(
      'CLUSTER_EXISTS',
      `There is a cluster named "${spec.name}" already, or one is being made: network ${networkName(spec)} is there`,
      {
        hint: `Choose another name, or delete it with \`npx mayfly delete cluster --name ${spec.name}\``,
        cause: thrown,
      },
    )
  }
}

/**
 * Makes the cluster's own container network. Its subnet is chosen here and not by the engine, which has few of its
 * own and gives fixed addresses only in subnets that it was told.
 */
export async function createClusterNetwork(
  engine: Engine,
  name: string,
  families: readonly ('ipv4' | 'ipv6')[],
  labels: Labels,
): Promise<{ network: Network; subnets: NodeSubnets }> {
  for (let attempt = 1; ; attempt++) {
    const subnet = randomSubnet()
    const ipv6Subnet = families.includes('ipv6') ? randomUlaSubnet() : undefined
    try {
      const network = await createNetwork(engine, { name, labels, subnet, ...(ipv6Subnet && { ipv6Subnet }) })
      return { network, subnets: { ipv4: subnet, ...(ipv6Subnet && { ipv6: ipv6Subnet }) } }
    } catch (thrown) {
      const taken =
        thrown instanceof MayflyError && /overlap|already in use|no free IPv4 subnet/i.test(thrown.message)
      if (!taken || attempt === attempts) throw thrown
    }
  }
}

/** One of 1024 subnets for up to 250 nodes each, in a range that engines hand out last. */
function randomSubnet(): string {
  return `172.${28 + randomInt(4)}.${randomInt(256)}.0/24`
}
