import { isIPv6 } from 'node:net'
import type { ClusterSpec, NodeSpec } from '../config/index.ts'
import type { Engine } from '../engine/index.ts'
import { MayflyError } from '../errors.ts'
import { firstAddresses, subnetsOf } from './addresses.ts'
import { nodeMaskSizes } from './cluster-configuration.ts'

/** One node with everything that is decided before it exists. */
export interface PlannedNode {
  spec: NodeSpec
  /** Addresses in the cluster's network, primary family first. */
  addresses: string[]
  /** Pod subnets, one a family; none when the cluster brings a network of its own. */
  podCidrs: string[]
}

/** A cluster with every name and address decided, before anything is made. */
export interface ClusterPlan {
  spec: ClusterSpec
  nodes: PlannedNode[]
  /** Subnets of the cluster's container network, primary family first. */
  subnets: string[]
  /** Address of the load balancer; only once there have been several control planes. */
  loadBalancer: string[] | undefined
  /** First address of each Service subnet, the API server's own. */
  apiServiceAddresses: string[]
  /** The cluster's DNS Service. */
  dnsAddress: string
  /** The engine's machine where it is another one than this process's; see `Engine.remoteHost`. */
  engineHost?: string
}

/** Subnets of the cluster's container network, one a family. */
export interface NodeSubnets {
  ipv4?: string
  ipv6?: string
}

/** Decides names and addresses. Pure: equal arguments give equal plans. */
export function planCluster(
  spec: ClusterSpec,
  subnets: NodeSubnets,
  engine: Pick<Engine, 'remoteHost'> = {},
): ClusterPlan {
  const { networking } = spec
  const families = familiesOf(spec)
  // The first two are taken: see loadBalancerAddresses.
  const pools = families.map((family) => firstAddresses(required(subnets[family]), spec.nodes.length + 2))
  const podPools = podCidrPools(spec)
  const serviceAddresses = networking.serviceSubnets.map((cidr) => firstAddresses(cidr, 10))
  const nodes = spec.nodes.map((node, at): PlannedNode => {
    const podCidrs = podPools.map((pool) => pool(at))
    return { spec: node, addresses: pools.map((pool) => required(pool[at + 2])), podCidrs }
  })
  const ofFamilies = families.map((family) => required(subnets[family]))
  return {
    spec,
    nodes,
    subnets: ofFamilies,
    loadBalancer:
      controlPlanes(nodes).length > 1 ? loadBalancerAddresses({ subnets: ofFamilies }) : undefined,
    apiServiceAddresses: serviceAddresses.map((pool) => required(pool[0])),
    dnsAddress: required(serviceAddresses[0]?.[9]),
    ...(engine.remoteHost !== undefined && { engineHost: engine.remoteHost }),
  }
}

/**
 * The parts of the pod subnets that nodes get, by the nodes' place.
 *
 * @throws MayflyError `CONFIG_INVALID` when a pod subnet has not as many
 */
export function podCidrPools(spec: ClusterSpec): ((at: number) => string)[] {
  const sizes = nodeMaskSizes(spec)
  return spec.networking.podSubnets.map((cidr, family) => {
    const size = sizes[family] ?? 0
    const pool = subnetsOf(cidr, size)
    const count = spec.nodes.length
    if (pool(count - 1) === undefined) {
      throw new MayflyError(
        'CONFIG_INVALID',
        `networking.podSubnet ${cidr} has no room for ${count === 1 ? 'a node, which' : `${count} nodes, of which each`} gets a /${size}`,
        {
          hint: 'Choose a larger subnet, or a longer prefix for nodes: node-cidr-mask-size of the controller manager',
        },
      )
    }
    return (at) => required(pool(at))
  })
}

/**
 * Where a cluster's load balancer is, or would be: behind the bridge, which has the first address of each subnet. Nothing
 * else gets these addresses, so that a cluster can get a load balancer later.
 */
export function loadBalancerAddresses({ subnets }: Pick<ClusterPlan, 'subnets'>): string[] {
  return subnets.map((subnet) => required(firstAddresses(subnet, 2)[1]))
}

/** The address families of a cluster's nodes, primary first. */
export function familiesOf({ networking }: Pick<ClusterSpec, 'networking'>): ('ipv4' | 'ipv6')[] {
  return networking.podSubnets.map((cidr) => (isIPv6(cidr.split('/')[0] ?? '') ? 'ipv6' : 'ipv4'))
}

/** The nodes that run a control plane. */
export function controlPlanes(nodes: readonly PlannedNode[]): PlannedNode[] {
  return nodes.filter(({ spec }) => spec.role === 'control-plane')
}

/** Names of those. */
export function controlPlaneNames({ nodes }: Pick<ClusterPlan, 'nodes'>): string[] {
  return controlPlanes(nodes).map(({ spec }) => spec.name)
}

/** Where a node's kubelet and pods reach the control plane: a control-plane node uses its own API server. */
export function controlPlaneAddress(plan: ClusterPlan, node: PlannedNode): string {
  const addresses =
    node.spec.role === 'control-plane'
      ? node.addresses
      : (plan.loadBalancer ?? required(controlPlanes(plan.nodes)[0]).addresses)
  return required(addresses[0])
}

/** The name or address of the control plane for whoever is in the cluster's network. */
export function controlPlaneEndpoint(plan: ClusterPlan): string {
  return (plan.loadBalancer ?? controlPlanes(plan.nodes)[0]?.addresses ?? [''])[0] ?? ''
}

function required<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('the plan ran out of addresses')
  return value
}
