import { parse, parseAllDocuments, stringify } from 'yaml'
import type { ClusterSpec, NodeSpec } from '../config/index.ts'
import { MayflyError } from '../errors.ts'
import { clusterConfiguration, ownNames } from './cluster-configuration.ts'
import { apiServerPort } from './endpoints.ts'
import { type Argument, argumentsOf, type Document, type Patches, patch } from './kubeadm-patches.ts'
import type { ClusterPlan, PlannedNode } from './plan.ts'

/** What the configuration is rendered for besides the plan. */
export interface KubeadmTarget {
  /** Kubernetes version of the node image, such as `v1.37.2`. */
  kubernetes: string
}

/**
 * The configuration for `kubeadm init` on the first control-plane node, with the patches of the cluster and the node.
 *
 * @see https://kubernetes.io/docs/reference/config-api/kubeadm-config.v1beta4/
 * @throws MayflyError `CONFIG_INVALID` when a JSON patch does not apply
 */
export function kubeadmConfig(plan: ClusterPlan, node: PlannedNode, target: KubeadmTarget): string {
  const documents = [
    withSkippedPhases(plan, patch(initConfiguration(node), plan.spec, node.spec)),
    withOwnNames(plan, clusterConfiguration(plan.spec, target.kubernetes)),
    // kubeadm would give it to every node: what is for one node is added to that node's own copy.
    patch(kubeletConfiguration(plan, target), plan.spec),
    patch(proxyConfiguration(plan), plan.spec, node.spec),
  ]
  return documents.map((document) => stringify(document)).join('---\n')
}

/** Phases of `kubeadm init` without whose work no cluster can be saved and restored. */
const neededPhases = ['certs', 'kubeconfig', 'etcd', 'control-plane', 'kubelet-start']

/**
 * Refuses patches that leave out a part of the control plane. Addons may be left out.
 *
 * @throws MayflyError `CONFIG_INVALID`
 */
export function assertPhasesRun(spec: ClusterSpec): void {
  const first = spec.nodes.find(({ role }) => role === 'control-plane')
  if (!first) return
  const document = initConfiguration({ spec: first, addresses: [] })
  const { skipPhases } = patch(document, spec, first) as { skipPhases?: string[] }
  const needed = (skipPhases ?? []).filter((phase) => neededPhases.includes(phase.split('/')[0] ?? ''))
  if (needed.length === 0) return
  throw new MayflyError(
    'CONFIG_INVALID',
    `kubeadmConfigPatches skip ${needed.join(', ')} of \`kubeadm init\`, which every cluster needs`,
    { hint: `Skip none of ${neededPhases.join(', ')}; addons may be skipped, such as addon/coredns` },
  )
}

function initConfiguration({ spec, addresses }: Pick<PlannedNode, 'spec' | 'addresses'>): Document {
  const kubeletExtraArgs = [{ name: 'node-ip', value: addresses.join(',') }]
  return {
    apiVersion: 'kubeadm.k8s.io/v1beta4',
    kind: 'InitConfiguration',
    localAPIEndpoint: { advertiseAddress: addresses[0], bindPort: apiServerPort },
    nodeRegistration: {
      name: spec.name,
      criSocket: 'unix:///run/containerd/containerd.sock',
      kubeletExtraArgs,
    },
  }
}

/** Added to what patches skip, which replace the whole list, as kubeadm's flag for it would. */
function withSkippedPhases({ spec }: ClusterPlan, document: Document): Document {
  const { kubeProxyMode } = spec.networking
  const skipped = (document['skipPhases'] ?? []) as string[]
  // kubeadm's checks of the host know no containers.
  const own = ['preflight', ...(kubeProxyMode === 'none' ? ['addon/kube-proxy'] : [])]
  return { ...document, skipPhases: [...new Set([...own, ...skipped])] }
}

/** A patch that adds names replaces the whole list, by RFC 7386, and would lock this process out. */
function withOwnNames({ engineHost }: ClusterPlan, document: Document): Document {
  const apiServer = (document['apiServer'] ?? {}) as { certSANs?: string[] }
  const remote = engineHost === undefined ? [] : [engineHost]
  const certSANs = [...new Set([...ownNames, ...remote, ...(apiServer.certSANs ?? [])])]
  return { ...document, apiServer: { ...apiServer, certSANs } }
}

/**
 * From version 1.35 on the kubelet refuses cgroup v1 unless told otherwise; 1.31 knows the field that tells. A snapshot
 * that was made on a host with cgroup v2 has to start on one with v1 as well, so it is always set.
 */
function toleratesCgroupV1({ kubernetes }: KubeadmTarget): object {
  const minor = Number(/^v1\.(\d+)/.exec(kubernetes)?.[1] ?? 0)
  return minor >= 31 ? { failCgroupV1: false } : {}
}

function kubeletConfiguration({ spec }: ClusterPlan, target: KubeadmTarget): Document {
  return {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    cgroupDriver: 'cgroupfs',
    cgroupRoot: '/kubelet',
    failSwapOn: false,
    ...toleratesCgroupV1(target),
    featureGates: spec.featureGates,
    // A test cluster's disk is its host's: neither images nor pods are thrown out because it is full.
    imageGCHighThresholdPercent: 100,
    evictionHard: { 'nodefs.available': '0%', 'nodefs.inodesFree': '0%', 'imagefs.available': '0%' },
    serializeImagePulls: false,
    // What a suite changed shows up at once, not up to a minute later.
    syncFrequency: '10s',
    fileCheckFrequency: '2s',
    nodeStatusUpdateFrequency: '5s',
    configMapAndSecretChangeDetectionStrategy: 'Watch',
    shutdownGracePeriod: '0s',
    shutdownGracePeriodCriticalPods: '0s',
    eventRecordQPS: 0,
    kubeAPIQPS: 100,
    kubeAPIBurst: 200,
  }
}

function proxyConfiguration({ spec }: ClusterPlan): Document {
  const { kubeProxyMode } = spec.networking
  return {
    apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
    kind: 'KubeProxyConfiguration',
    ...(kubeProxyMode !== 'none' && { mode: kubeProxyMode }),
    featureGates: spec.featureGates,
    // Conntrack limits belong to the host; a node may not change them.
    conntrack: { maxPerCore: 0 },
    // A node without CAP_SYS_RESOURCE can't lower its score for the kernel's memory killer. With the default kube-proxy tries
    // that twice when it starts, and sleeps for 0.1 s after each attempt.
    oomScoreAdj: 0,
    // A Service leads to a new pod at once, not up to a second later: the default spares clusters with thousands of them.
    iptables: { minSyncPeriod: '100ms' },
    nftables: { minSyncPeriod: '100ms' },
  }
}

/** A taint of a Node object. */
export interface Taint {
  key: string
  value?: string
  effect: string
}

/** What kubeadm would have done with a node that it registers, for nodes that are restored. */
export interface NodeRegistration {
  /** Flags of the kubelet, in order. */
  kubeletArguments: Argument[]
  /** Labels that the kubelet would have given its Node object. */
  labels: Record<string, string>
  /** Taints in place of kubeadm's own; `undefined` leaves those. */
  taints: Taint[] | undefined
}

/**
 * What the patches of the cluster and of a node say about its registration: those for InitConfiguration count on the
 * first control plane, those for JoinConfiguration on all other nodes.
 *
 * @see https://kubernetes.io/docs/reference/config-api/kubeadm-config.v1beta4/#kubeadm-k8s-io-v1beta4-NodeRegistrationOptions
 * @throws MayflyError `CONFIG_INVALID` when a JSON patch does not apply
 */
export function nodeRegistration(plan: ClusterPlan, node: PlannedNode): NodeRegistration {
  const init = initConfiguration(node)
  const isFirst = node === plan.nodes.find(({ spec }) => spec.role === 'control-plane')
  const { localAPIEndpoint: _, ...joining } = init
  const document = isFirst ? init : { ...joining, kind: 'JoinConfiguration' }
  const patched = patch(document, plan.spec, node.spec)['nodeRegistration']
  const { kubeletExtraArgs, taints } = (patched ?? {}) as { kubeletExtraArgs?: unknown; taints?: Taint[] }
  const kubeletArguments = argumentsOf(kubeletExtraArgs)
  const valuesOf = (flag: string) =>
    kubeletArguments
      .filter(({ name }) => name === flag)
      .flatMap(({ value }) => value.split(','))
      .filter((value) => value !== '')
  const flagTaints = valuesOf('register-with-taints').map(parseTaint)
  return {
    kubeletArguments,
    labels: Object.fromEntries(
      valuesOf('node-labels').map((pair): [string, string] => {
        const [name = '', value = ''] = pair.split('=', 2)
        return [name, value]
      }),
    ),
    taints: taints ?? (flagTaints.length > 0 ? flagTaints : undefined),
  }
}

/** A taint as the kubelet's flag has it: `key=value:effect` or `key:effect`. */
function parseTaint(text: string): Taint {
  const [pair = '', effect = ''] = text.split(':', 2)
  const [key = '', value] = pair.split('=', 2)
  return { key, ...(value !== undefined && { value }), effect }
}

/** What a kubelet configuration of one node is made from. */
type KubeletSettings = Patches & Pick<NodeSpec, 'role' | 'cpus' | 'memoryBytes'>

/** Whether a node has a kubelet configuration of its own. */
export function hasOwnKubeletConfiguration(node: KubeletSettings): boolean {
  if (node.cpus !== undefined || node.memoryBytes !== undefined) return true
  const kinds = node.kubeadmConfigPatches.flatMap((text) =>
    parseAllDocuments(text).map((parsed) => (parsed.toJS() as Document | null)?.kind),
  )
  return [...kinds, ...node.kubeadmConfigPatchesJSON6902.map(({ kind }) => kind)].includes(
    'KubeletConfiguration',
  )
}

/** What the machine has that the nodes share. */
export interface HostResources {
  cpus: number
  memoryBytes: number
}

/** Millicores that the pods which every cluster brings ask for, on a node of the role: with less they would not run there. */
const millicoresOfOwnPods = { 'control-plane': 1000, worker: 200 } as const

/**
 * The kubelet configuration of one node: the cluster's, with the node's limits and patches. A kubelet takes what the
 * host has for its own; so what is beyond the node's limits is reserved, and its Node object offers the rest for pods.
 *
 * @throws MayflyError `CONFIG_INVALID` when a JSON patch does not apply
 */
export function nodeKubeletConfiguration(
  ofCluster: string,
  node: KubeletSettings,
  host: HostResources,
): string {
  const document = parse(ofCluster) as Document
  const reserved = { ...(document['systemReserved'] as object), ...beyondLimits(node, host) }
  const limited = Object.keys(reserved).length > 0 ? { ...document, systemReserved: reserved } : document
  return stringify(patch(limited, node))
}

/** What a node does not get of its host, as resource quantities. */
function beyondLimits({ role, cpus, memoryBytes }: KubeletSettings, host: HostResources) {
  const millicores = cpus && Math.max(Math.round(cpus * 1000), millicoresOfOwnPods[role])
  return {
    ...(millicores && { cpu: `${Math.max(0, host.cpus * 1000 - millicores)}m` }),
    ...(memoryBytes && { memory: `${Math.max(0, host.memoryBytes - memoryBytes)}` }),
  }
}
