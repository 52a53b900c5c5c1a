import { type ClusterSpec, ordinaryNodeMaskSizes } from '../config/index.ts'
import { apiServerPort, controlPlaneHost } from './endpoints.ts'
import { type Argument, argumentsOf, type Document, patch } from './kubeadm-patches.ts'

/**
 * kubeadm's ClusterConfiguration, with the patches of the cluster and of its first control plane.
 *
 * @param kubernetes Version of the node image, such as `v1.37.2`
 * @throws MayflyError `CONFIG_INVALID` when a JSON patch does not apply
 */
export function clusterConfiguration(spec: ClusterSpec, kubernetes: string): Document {
  const document = patched(spec, kubernetes)
  // After the patches: one that sets any flag in a list replaces all of them.
  const told = nodeMasks(spec, document).filter(({ isTold }) => isTold)
  if (told.length === 0) return document
  const flags = told.map(({ flag, size }): Argument => ({ name: flag, value: String(size) }))
  const others = controllerManagerFlags(document).filter(({ name }) => !name.startsWith(anyNodeMaskFlag))
  const controllerManager = { ...(document['controllerManager'] as object), extraArgs: [...others, ...flags] }
  return { ...document, controllerManager }
}

/**
 * Prefix lengths of the parts of the pod subnets that each node gets, in the order of the subnets: what patches tell
 * the controller manager, else what fits.
 */
export function nodeMaskSizes(spec: ClusterSpec): number[] {
  return nodeMasks(spec, patched(spec)).map(({ size }) => size)
}

/** Names by which this process reaches API servers, through the engine's published ports. */
export const ownNames = ['localhost', '127.0.0.1', '::1']

/** What patches say that goes into certificates, which kubeadm does not make for restored clusters. */
export interface CertificateSettings {
  /** More names and addresses for API servers. */
  certSans: string[]
  /** DNS domain of the cluster. */
  dnsDomain: string
}

/** Reads the settings for certificates out of the patched ClusterConfiguration. */
export function certificateSettings({ spec }: { spec: ClusterSpec }): CertificateSettings {
  const { apiServer, networking } = patched(spec) as {
    apiServer?: { certSANs?: string[] }
    networking?: { dnsDomain?: string }
  }
  return { certSans: apiServer?.certSANs ?? [], dnsDomain: networking?.dnsDomain ?? 'cluster.local' }
}

function patched(spec: ClusterSpec, kubernetes = ''): Document {
  const first = spec.nodes.find(({ role }) => role === 'control-plane')
  return patch(unpatched(spec, kubernetes), spec, ...(first ? [first] : []))
}

function unpatched(spec: ClusterSpec, kubernetes: string): Document {
  const { networking, featureGates, runtimeConfig } = spec
  const gates = Object.entries(featureGates).map(([name, on]) => `${name}=${on}`)
  const gateArgs = gates.length > 0 ? [{ name: 'feature-gates', value: gates.join(',') }] : []
  const runtime = Object.entries(runtimeConfig).map(([name, on]) => `${name}=${on}`)
  const runtimeArgs = runtime.length > 0 ? [{ name: 'runtime-config', value: runtime.join(',') }] : []
  return {
    apiVersion: 'kubeadm.k8s.io/v1beta4',
    kind: 'ClusterConfiguration',
    kubernetesVersion: kubernetes,
    clusterName: spec.name,
    controlPlaneEndpoint: `${controlPlaneHost}:${apiServerPort}`,
    networking: {
      podSubnet: networking.podSubnets.join(','),
      serviceSubnet: networking.serviceSubnets.join(','),
    },
    apiServer: {
      certSANs: ownNames,
      extraArgs: [...gateArgs, ...runtimeArgs],
    },
    controllerManager: { extraArgs: [...controllerManagerArgs, ...gateArgs] },
    scheduler: { extraArgs: gateArgs },
  }
}

const controllerManagerArgs = [
  { name: 'enable-hostpath-provisioner', value: 'true' },
  // By default it asks for its controllers' service accounts at 20 a second, and needs over a second to start.
  { name: 'kube-api-qps', value: '200' },
  { name: 'kube-api-burst', value: '400' },
]

/** The controller manager's flag for clusters of one family. */
const anyNodeMaskFlag = 'node-cidr-mask-size'

/** Its flag for one family. kubeadm's checks of subnets know no other. */
export const nodeMaskFlags = { 4: `${anyNodeMaskFlag}-ipv4`, 6: `${anyNodeMaskFlag}-ipv6` } as const

/** Which part of a pod subnet each node gets. */
interface NodeMask {
  flag: string
  /** Length of the prefix. */
  size: number
  /** The controller manager does not take it by itself, or would not with more nodes. */
  isTold: boolean
}

function nodeMasks(
  { networking: { podSubnets, nodeMaskSizes } }: ClusterSpec,
  document: Document,
): NodeMask[] {
  const flags = controllerManagerFlags(document)
  return podSubnets.map((subnet, at) => {
    const family = subnet.includes(':') ? 6 : 4
    const names = podSubnets.length === 1 ? [nodeMaskFlags[family], anyNodeMaskFlag] : [nodeMaskFlags[family]]
    const given = flags.findLast(({ name }) => names.includes(name))
    const [fitting = 0, prefix] = [nodeMaskSizes[at], Number(subnet.split('/')[1])]
    // A subnet with room for 256 nodes of the ordinary size stays with it, however many there are.
    const hasOrdinary = fitting === ordinaryNodeMaskSizes[family] && fitting - prefix >= 8
    return {
      flag: nodeMaskFlags[family],
      size: Number(given?.value) || fitting,
      isTold: given !== undefined || !hasOrdinary,
    }
  })
}

function controllerManagerFlags(document: Document): Argument[] {
  return argumentsOf((document['controllerManager'] as { extraArgs?: unknown } | undefined)?.extraArgs)
}
