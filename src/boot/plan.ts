import { isIPv6 } from 'node:net'
import type { ClusterSpec, NodeSpec } from '../config/index.ts'
import type { Engine } from '../engine/index.ts'
import { firstAddresses, subnetsOf } from './addresses.ts'

/** Resolves to the control plane inside every node; one name for all clusters, so that a snapshot can name it. */
export const controlPlaneHost = 'control-plane.mayfly.internal'

/** The port that API servers listen on, inside nodes. */
export const apiServerPort = 6443

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
  const podPools = networking.podSubnets.map((cidr) =>
    subnetsOf(cidr, isIPv6(cidr.split('/')[0] ?? '') ? 64 : 24),
  )
  const serviceAddresses = networking.serviceSubnets.map((cidr) => firstAddresses(cidr, 10))
  const nodes = spec.nodes.map((node, at): PlannedNode => {
    const podCidrs = podPools.map((pool) => required(pool(at)))
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

/** Where an API server is reached, as `address:port`. */
export function apiServerEndpoint([address = '']: readonly string[]): string {
  return `${bracketed(address)}:${apiServerPort}`
}

/** The name or address of the control plane for whoever is in the cluster's network. */
export function controlPlaneEndpoint(plan: ClusterPlan): string {
  return (plan.loadBalancer ?? controlPlanes(plan.nodes)[0]?.addresses ?? [''])[0] ?? ''
}

/**
 * Where this process reaches a port of the engine's host, as it stands before the port.
 *
 * @param listening The address that the port is published on
 */
export function publishedAddress(listening: string, engineHost: string | undefined): string {
  if (listening === '0.0.0.0' || listening === '') return bracketed(engineHost ?? '127.0.0.1')
  return bracketed(listening === '::' ? (engineHost ?? '::1') : listening)
}

/** An address as it stands before a port. */
export function bracketed(address: string): string {
  return address.includes(':') ? `[${address}]` : address
}

function required<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('the plan ran out of addresses')
  return value
}
