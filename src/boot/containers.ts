import {
  type ContainerMount,
  type ContainerSpec,
  type Engine,
  kernelModules,
  type Privilege,
} from '../engine/index.ts'
import { sharedLayersMounts } from '../images/index.ts'
import { type Labels, label } from '../reaper/index.ts'
import { apiServerPort, controlPlaneHost } from './endpoints.ts'
import { type ClusterPlan, controlPlaneAddress, type PlannedNode } from './plan.ts'
import { trimVariable } from './static-pods.ts'

/** What every node container of a cluster has in common. */
export interface NodeSurroundings {
  engine: Engine
  privilege: Privilege
  labels: Labels
  network: string
  /** By which nodes see the engine's own layers; default: none. */
  engineStore?: readonly ContainerMount[]
  /** The volume in which the nodes share layers of images; not for a node that is alone and baked from. */
  layersVolume?: string
  /** The API server's port on the host; default: the specification's. */
  apiServerHostPort?: number
}

/**
 * What a node writes much to, or what outlives a stop. Not all of /var: the engine would copy the image's into every
 * node, file by file.
 */
const stateFolders = [
  '/var/lib/containerd',
  '/var/lib/kubelet',
  '/var/lib/etcd',
  '/var/log',
  '/var/local-path-provisioner',
]

/** The container of a node. Its state is on volumes of the engine's, so that it survives a stop. */
export function nodeContainer(
  plan: ClusterPlan,
  { spec, addresses }: PlannedNode,
  {
    privilege,
    labels,
    network,
    engineStore = [],
    layersVolume,
    apiServerHostPort,
  }: Omit<NodeSurroundings, 'engine'>,
): ContainerSpec {
  const { networking, proxy } = plan.spec
  const controlPlane = spec.role === 'control-plane'
  const [ipv4, ipv6] = [addresses.find((a) => !a.includes(':')), addresses.find((a) => a.includes(':'))]
  return {
    name: spec.name,
    hostname: spec.name,
    image: spec.image,
    labels: { ...labels, [label.role]: spec.role },
    privilege,
    privateCgroupNamespace: true,
    tty: true,
    tmpfs: { '/tmp': 'exec', '/run': 'exec' },
    volumes: [...stateFolders],
    mounts: [
      kernelModules,
      ...engineStore,
      ...sharedLayersMounts(layersVolume),
      ...spec.extraMounts.map(({ hostPath, containerPath, readOnly, selinuxRelabel, propagation }) => ({
        type: 'bind' as const,
        source: hostPath,
        target: containerPath,
        readOnly,
        selinuxRelabel,
        propagation: ({ None: 'rprivate', HostToContainer: 'rslave', Bidirectional: 'rshared' } as const)[
          propagation
        ],
      })),
    ],
    network,
    ...(ipv4 && { ipv4 }),
    ...(ipv6 && { ipv6 }),
    ...(ipv6 && { sysctls: { 'net.ipv6.conf.all.disable_ipv6': '0', 'net.ipv6.conf.all.forwarding': '1' } }),
    extraHosts: { [controlPlaneHost]: controlPlaneAddress(plan, { spec, addresses, podCidrs: [] }) },
    ...(networking.dnsSearch && {
      dnsSearch: networking.dnsSearch.length > 0 ? [...networking.dnsSearch] : ['.'],
    }),
    ports: [
      ...(controlPlane && !plan.loadBalancer ? [apiServerMapping(plan, apiServerHostPort)] : []),
      ...spec.extraPortMappings.map(({ containerPort, hostPort, listenAddress, protocol }) => ({
        containerPort,
        hostPort,
        hostAddress: listenAddress,
        protocol: protocol.toLowerCase() as Lowercase<typeof protocol>,
      })),
    ],
    ...(spec.cpus !== undefined && { cpus: spec.cpus }),
    ...(spec.memoryBytes !== undefined && { memoryBytes: spec.memoryBytes }),
    // Which the units of containerd and the kubelet pass on.
    env: {
      [trimVariable.name]: trimVariable.value,
      ...(proxy && proxyEnvironment(plan, proxy)),
    },
    // A node that dies is for the test to see; only a restarted engine starts it again.
    restart: { onFailure: 1 },
  }
}

/** The port of the host that leads to the API server. */
export function apiServerMapping(
  { spec }: ClusterPlan,
  hostPort = spec.networking.apiServerPort,
): NonNullable<ContainerSpec['ports']>[number] {
  const { apiServerAddress } = spec.networking
  return { containerPort: apiServerPort, hostAddress: apiServerAddress, hostPort }
}

/** No proxy leads to the nodes themselves; their network was not known when the specification was made. */
function proxyEnvironment(
  { subnets }: ClusterPlan,
  proxy: NonNullable<ClusterPlan['spec']['proxy']>,
): Record<string, string> {
  const noProxy = [proxy.noProxy, controlPlaneHost, ...subnets].filter(Boolean).join(',')
  const values = { HTTP_PROXY: proxy.httpProxy, HTTPS_PROXY: proxy.httpsProxy, NO_PROXY: noProxy }
  const set = Object.entries(values).filter((entry): entry is [string, string] => entry[1] !== undefined)
  return Object.fromEntries(
    set.flatMap(([name, value]) => [
      [name, value],
      [name.toLowerCase(), value],
    ]),
  )
}
