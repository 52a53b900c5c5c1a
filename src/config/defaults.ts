import { randomInt } from 'node:crypto'
import { resolve } from 'node:path'
import { type Cidr, parseCidr } from './cidr.ts'
import { nodeMaskSize } from './node-masks.ts'
import type { ParsedCluster, ParsedNode } from './schema.ts'
import type {
  ClusterSpec,
  IpFamily,
  MountSpec,
  NetworkingSpec,
  NodeSpec,
  PortMappingSpec,
  ProxySpec,
} from './spec.ts'

/** The node image when neither options, configuration nor MAYFLY_NODE_IMAGE name one. */
export const DEFAULT_NODE_IMAGE = 'mayfly/node:v1.37.2'

/** The environment of a process. */
export type Environment = Readonly<Record<string, string | undefined>>

// The subnets are kind's: https://github.com/kubernetes-sigs/kind/blob/main/pkg/apis/config/v1alpha4/default.go
const defaultSubnets = {
  pods: { 4: '10.244.0.0/16', 6: 'fd00:10:244::/56' },
  services: { 4: '10.96.0.0/16', 6: 'fd00:10:96::/112' },
} as const

/** Makes the paths of mounts absolute, from the folder that their source stands for. */
export function withAbsolutePaths(cluster: ParsedCluster, folder: string): ParsedCluster {
  if (!cluster.nodes) return cluster
  const nodes = cluster.nodes.map((node) =>
    node.extraMounts
      ? {
          ...node,
          extraMounts: node.extraMounts.map((mount) => ({
            ...mount,
            hostPath: resolve(folder, mount.hostPath),
          })),
        }
      : node,
  )
  return { ...cluster, nodes }
}

/** The configuration with what the options say in its place; see {@link ClusterOptions} for the rules. */
export function mergeClusters(config: ParsedCluster, options: ParsedCluster): ParsedCluster {
  const { image } = options
  const nodes = options.nodes ?? config.nodes?.map((node) => (image ? { ...node, image } : node))
  const proxy =
    options.proxy && config.proxy
      ? { ...config.proxy, ...given(options.proxy) }
      : (options.proxy ?? config.proxy)
  return {
    ...config,
    ...given(options),
    nodes,
    networking: { ...config.networking, ...given(options.networking ?? {}) },
    featureGates: { ...config.featureGates, ...options.featureGates },
    runtimeConfig: { ...config.runtimeConfig, ...options.runtimeConfig },
    registryMirrors: { ...config.registryMirrors, ...options.registryMirrors },
    proxy,
  }
}

/** Fills in every default. */
export function completeSpec(cluster: ParsedCluster, env: Environment): ClusterSpec {
  const name = cluster.name ?? `mayfly-${randomSuffix()}`
  const networking = completeNetworking(cluster.networking ?? {}, cluster.nodes?.length || 1)
  const image = cluster.image ?? (env['MAYFLY_NODE_IMAGE'] || DEFAULT_NODE_IMAGE)
  const nameOf = nodeNamer(name)
  const parsedNodes: ParsedNode[] = cluster.nodes?.length ? cluster.nodes : [{}]
  const nodes = parsedNodes.map((node) => completeNode(node, nameOf, image, networking.ipFamily))
  const proxy = completeProxy(cluster.proxy, env, [
    ...networking.serviceSubnets,
    ...networking.podSubnets,
    ...nodes.map((node) => node.name),
  ])
  return {
    name,
    nodes,
    networking,
    featureGates: cluster.featureGates ?? {},
    runtimeConfig: cluster.runtimeConfig ?? {},
    kubeadmConfigPatches: cluster.kubeadmConfigPatches ?? [],
    kubeadmConfigPatchesJSON6902: cluster.kubeadmConfigPatchesJSON6902 ?? [],
    containerdConfigPatches: cluster.containerdConfigPatches ?? [],
    containerdConfigPatchesJSON6902: cluster.containerdConfigPatchesJSON6902 ?? [],
    registryMirrors: cluster.registryMirrors ?? {},
    ...(proxy && { proxy }),
    controlPlaneOnly: cluster.controlPlaneOnly ?? false,
  }
}

/** An object without its undefined fields, so that spreading it replaces only what was given. */
function given<T extends object>(value: T): Partial<T> {
  return Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined)) as Partial<T>
}

function randomSuffix(): string {
  return randomInt(36 ** 6)
    .toString(36)
    .padStart(6, '0')
}

/** Names nodes as kind does: the first of a role has no number. */
function nodeNamer(cluster: string): (role: string) => string {
  const counts: Record<string, number> = {}
  return (role) => {
    const count = (counts[role] ?? 0) + 1
    counts[role] = count
    return `${cluster}-${role}${count === 1 ? '' : count}`
  }
}

function completeNode(
  node: ParsedNode,
  nameOf: (role: string) => string,
  image: string,
  ipFamily: IpFamily,
): NodeSpec {
  const role = node.role ?? 'control-plane'
  // Counted also when the name is given: the others keep their names when one node gets a name of its own.
  const ordinaryName = nameOf(role)
  const { cpus, memory } = node
  return {
    name: node.name ?? ordinaryName,
    role,
    image: node.image ?? image,
    labels: node.labels ?? {},
    extraMounts: (node.extraMounts ?? []).map(
      (mount): MountSpec => ({
        hostPath: mount.hostPath,
        containerPath: mount.containerPath,
        readOnly: mount.readOnly ?? false,
        selinuxRelabel: mount.selinuxRelabel ?? false,
        propagation: mount.propagation ?? 'None',
      }),
    ),
    extraPortMappings: (node.extraPortMappings ?? []).map(
      (mapping): PortMappingSpec => ({
        containerPort: mapping.containerPort,
        hostPort: mapping.hostPort ?? 0,
        listenAddress: mapping.listenAddress ?? (ipFamily === 'ipv6' ? '::' : '0.0.0.0'),
        protocol: mapping.protocol ?? 'TCP',
      }),
    ),
    kubeadmConfigPatches: node.kubeadmConfigPatches ?? [],
    kubeadmConfigPatchesJSON6902: node.kubeadmConfigPatchesJSON6902 ?? [],
    ...(cpus !== undefined && { cpus }),
    ...(memory !== undefined && { memoryBytes: memory }),
  }
}

function completeNetworking(
  networking: NonNullable<ParsedCluster['networking']>,
  nodes: number,
): NetworkingSpec {
  const { ipFamily = 'ipv4', podSubnet, serviceSubnet, dnsSearch } = networking
  // A dual-stack cluster has one primary family; what is given for pods or Services decides it for both.
  const first = (podSubnet ?? serviceSubnet)?.[0]?.family ?? 4
  const families = ipFamily === 'ipv4' ? [4 as const] : ipFamily === 'ipv6' ? [6 as const] : bothFrom(first)
  const textsOf = (cidrs: Cidr[] | undefined, defaults: Record<4 | 6, string>) =>
    cidrs?.map(({ text }) => text) ?? families.map((family) => defaults[family])
  const podSubnets = textsOf(podSubnet, defaultSubnets.pods)
  return {
    ipFamily,
    apiServerPort: networking.apiServerPort ?? 0,
    apiServerAddress: networking.apiServerAddress ?? (ipFamily === 'ipv6' ? '::1' : '127.0.0.1'),
    podSubnets,
    nodeMaskSizes: podSubnets.flatMap((text) => {
      const cidr = parseCidr(text)
      return cidr ? [nodeMaskSize(cidr, nodes)] : []
    }),
    serviceSubnets: textsOf(serviceSubnet, defaultSubnets.services),
    disableDefaultCNI: networking.disableDefaultCNI ?? false,
    kubeProxyMode: networking.kubeProxyMode ?? 'iptables',
    ...(dnsSearch && { dnsSearch }),
  }
}

function bothFrom(first: 4 | 6): (4 | 6)[] {
  return first === 4 ? [4, 6] : [6, 4]
}

/** As kind does it; the subnets of the engine's network are known, and added, only when that network is. */
function completeProxy(
  proxy: ParsedCluster['proxy'],
  env: Environment,
  own: readonly string[],
): ProxySpec | undefined {
  if (proxy === false) return undefined
  const fromEnv = (name: string) => env[name] || env[name.toLowerCase()] || undefined
  const httpProxy = proxy?.httpProxy ?? fromEnv('HTTP_PROXY')
  const httpsProxy = proxy?.httpsProxy ?? fromEnv('HTTPS_PROXY')
  const direct = proxy?.noProxy ?? fromEnv('NO_PROXY')?.split(',') ?? []
  if (!httpProxy && !httpsProxy && direct.length === 0) return undefined
  const noProxy = [...direct, ...own, '.svc', '.svc.cluster', '.svc.cluster.local'].map((one) => one.trim())
  return {
    ...(httpProxy && { httpProxy }),
    ...(httpsProxy && { httpsProxy }),
    noProxy: [...new Set(noProxy)].filter((one) => one !== '').join(','),
  }
}
