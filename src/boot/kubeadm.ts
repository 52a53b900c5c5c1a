import { applyPatch, type Operation } from 'rfc6902'
import { parse, parseAllDocuments, stringify } from 'yaml'
import type { NodeSpec } from '../config/index.ts'
import { MayflyError } from '../errors.ts'
import { apiServerPort, type ClusterPlan, controlPlaneHost, type PlannedNode } from './plan.ts'

type Document = Record<string, unknown> & { kind: string; apiVersion: string }

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
    withoutPreflight(patch(initConfiguration(plan, node), plan.spec, node.spec)),
    withOwnNames(plan, patch(clusterConfiguration(plan, target), plan.spec, node.spec)),
    // kubeadm would give it to every node: what is for one node is added to that node's own copy.
    patch(kubeletConfiguration(plan, target), plan.spec),
    patch(proxyConfiguration(plan), plan.spec, node.spec),
  ]
  return documents.map((document) => stringify(document)).join('---\n')
}

function initConfiguration(plan: ClusterPlan, { spec, addresses }: PlannedNode): Document {
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
    ...(plan.spec.networking.kubeProxyMode === 'none' && { skipPhases: ['addon/kube-proxy'] }),
  }
}

/** kubeadm's checks of the host know no containers. Said here, for its flag would hide what the configuration skips. */
function withoutPreflight(document: Document): Document {
  const skipped = (document['skipPhases'] ?? []) as string[]
  return { ...document, skipPhases: [...new Set(['preflight', ...skipped])] }
}

/** Names by which this process reaches API servers, through the engine's published ports. */
const ownNames = ['localhost', '127.0.0.1', '::1']

/** A patch that adds names replaces the whole list, by RFC 7386, and would lock this process out. */
function withOwnNames({ engineHost }: ClusterPlan, document: Document): Document {
  const apiServer = (document['apiServer'] ?? {}) as { certSANs?: string[] }
  const remote = engineHost === undefined ? [] : [engineHost]
  const certSANs = [...new Set([...ownNames, ...remote, ...(apiServer.certSANs ?? [])])]
  return { ...document, apiServer: { ...apiServer, certSANs } }
}

function clusterConfiguration({ spec }: ClusterPlan, { kubernetes }: KubeadmTarget): Document {
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
    iptables: { minSyncPeriod: '1s' },
    nftables: { minSyncPeriod: '1s' },
  }
}

/** Merge and JSON patches, as a cluster and its nodes have them. */
type Patches = Pick<NodeSpec, 'kubeadmConfigPatches' | 'kubeadmConfigPatchesJSON6902'>

/** Applies the patches of the cluster, then those of the node, as kind does. */
function patch(document: Document, ...sources: readonly Patches[]): Document {
  let patched = document
  for (const text of sources.flatMap(({ kubeadmConfigPatches }) => kubeadmConfigPatches)) {
    for (const change of parseAllDocuments(text).map((parsed) => parsed.toJS() as Document)) {
      if (change?.kind !== document.kind) continue
      // A patch written for another version of the API is for this document all the same.
      patched = { ...(merge(patched, change) as Document), apiVersion: document.apiVersion }
    }
  }
  for (const json of sources.flatMap(({ kubeadmConfigPatchesJSON6902 }) => kubeadmConfigPatchesJSON6902)) {
    const [group, version] = document.apiVersion.split('/')
    const applies =
      json.kind === document.kind && (!json.version || (json.group === group && json.version === version))
    if (applies) patched = patchJson(patched, json.patch, json.kind)
  }
  return patched
}

function patchJson(document: Document, operations: readonly Operation[], kind: string): Document {
  const copy = structuredClone(document)
  const failed = applyPatch(copy, structuredClone([...operations])).find((outcome) => outcome !== null)
  if (failed) {
    throw new MayflyError(
      'CONFIG_INVALID',
      `A kubeadmConfigPatchesJSON6902 entry does not apply to ${kind}: ${failed.message}`,
      { hint: 'Change its path to one of this document', output: stringify(document) },
    )
  }
  return copy
}

/** A merge patch, by RFC 7386: objects merge, `null` removes, all else replaces. */
function merge(target: unknown, change: unknown, field = ''): unknown {
  if (!isObject(change)) return change
  if (/^(kubeletE|e)xtraArgs$/.test(field)) return mergeArguments(target, change)
  const result: Record<string, unknown> = isObject(target) ? { ...target } : {}
  for (const [name, value] of Object.entries(change)) {
    if (value === null) delete result[name]
    else result[name] = merge(result[name], value, name)
  }
  return result
}

/** A flag in kubeadm's configuration since v1beta4. */
interface Argument {
  name: string
  value: string
}

/** Patches written for kubeadm up to v1beta3 have flags as a map, which merges with the list that v1beta4 has. */
function mergeArguments(target: unknown, change: Record<string, unknown>): Argument[] {
  const others = argumentsOf(target).filter(({ name }) => !Object.hasOwn(change, name))
  const given = Object.entries(change).flatMap(([name, value]) =>
    value === null ? [] : [{ name, value: String(value) }],
  )
  return [...others, ...given]
}

function argumentsOf(list: unknown): Argument[] {
  return Array.isArray(list) ? (list as Argument[]) : []
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
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
  const init = initConfiguration(plan, node)
  const isFirst = node === plan.nodes.find(({ spec }) => spec.role === 'control-plane')
  const { localAPIEndpoint: _, skipPhases: __, ...joining } = init
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

/** What patches say that goes into certificates, which kubeadm does not make for restored clusters. */
export interface CertificateSettings {
  /** More names and addresses for API servers. */
  certSans: string[]
  /** DNS domain of the cluster. */
  dnsDomain: string
}

/** Reads the settings for certificates out of the patched ClusterConfiguration. */
export function certificateSettings(plan: ClusterPlan): CertificateSettings {
  const first = plan.nodes.find(({ spec }) => spec.role === 'control-plane')
  // The version decides nothing of what is read here.
  const document = clusterConfiguration(plan, { kubernetes: '' })
  const { apiServer, networking } = patch(document, plan.spec, ...(first ? [first.spec] : [])) as {
    apiServer?: { certSANs?: string[] }
    networking?: { dnsDomain?: string }
  }
  return { certSans: apiServer?.certSANs ?? [], dnsDomain: networking?.dnsDomain ?? 'cluster.local' }
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
