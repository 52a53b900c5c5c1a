import type { ClusterSpec, NodeSpec } from '../config/index.ts'
import {
  createContainer,
  type Engine,
  probePrivilege,
  putFiles,
  removeContainer,
  startContainer,
} from '../engine/index.ts'
import { engineStoreMounts, layersVolume } from '../images/index.ts'
import type { Kube } from '../kube/index.ts'
import type { ClusterAuthorities } from '../pki/index.ts'
import { type Labels, label } from '../reaper/index.ts'
import type { WaitLimits } from '../wait.ts'
import { nodeContainer } from './containers.ts'
import { setBackends } from './entry.ts'
import { addEtcdMember, promoteEtcdMember, removeEtcdMember } from './etcd-members.ts'
import { nodeWithHostPorts } from './host-ports.ts'
import { nodeSettingsFiles } from './node-settings.ts'
import { type ClusterPlan, planCluster } from './plan.ts'
import { type BaseSnapshot, filesForJoiningNode } from './restore.ts'
import { waitUntilUsable } from './resume.ts'
import { seedObjects } from './seeds.ts'

/** What a node that joins later needs to know of the cluster. */
export interface JoinOptions extends WaitLimits {
  engine: Engine
  kube: Kube
  labels: Labels
  snapshot: BaseSnapshot
  authorities: ClusterAuthorities
}

/**
 * Adds a node to a cluster that runs and waits until pods can run on it; a control plane takes part in etcd and behind
 * the load balancer then. What was made is removed again when this fails.
 *
 * @param plan With a load balancer, if the node is a control plane; see `placeBehindLoadBalancer`
 * @param spec A complete node, with a name that is free in the cluster
 * @param network Name of the cluster's container network
 * @returns The plan with the node in it
 */
export async function joinNode(
  plan: ClusterPlan,
  spec: NodeSpec,
  network: string,
  options: JoinOptions,
): Promise<ClusterPlan> {
  const { engine, kube, labels, snapshot, authorities, timeoutMs, signal } = options
  const limits = { timeoutMs, signal }
  const privilege = await probePrivilege(engine, spec.image, { signal, labels })
  const engineStore = await engineStoreMounts(engine, spec.image, { signal, labels })
  const extended = planWithNode(plan, await nodeWithHostPorts(spec))
  const node = extended.nodes.at(-1)
  if (!node) throw new Error('a plan without nodes')
  const controlPlane = spec.role === 'control-plane'
  const container = nodeContainer(extended, node, {
    privilege,
    engineStore,
    labels: { ...labels, [label.role]: spec.role },
    network,
    layersVolume: layersVolume(plan.spec.name),
  })
  try {
    // Before the node is there, so that it gets the pod subnet that it was told and no other.
    await kube.request('POST', '/api/v1/nodes', {
      body: nodeObject(extended, options, spec.name),
      doing: `register node ${spec.name}`,
      signal,
    })
    await createContainer(engine, container, { signal })
    const members = controlPlane ? await addEtcdMember(engine, plan, node, limits) : ''
    const files = await filesForJoiningNode(extended, node, snapshot, authorities, members)
    const settings = await nodeSettingsFiles(engine, spec.name, extended, node, snapshot)
    await putFiles(engine, spec.name, [...files, ...settings], { signal })
    await startContainer(engine, spec.name, { signal })
    if (controlPlane) await promoteEtcdMember(engine, plan, node, limits)
    await waitUntilUsable(engine, extended, kube, limits, { only: [spec.name] })
    if (controlPlane) await setBackends(engine, extended)
  } catch (thrown) {
    // Without its member gone, etcd would count on a node that is no more.
    if (controlPlane) await removeEtcdMember(engine, plan, node, { timeoutMs: 20_000 }).catch(() => undefined)
    await removeContainer(engine, spec.name)
    await kube.request('DELETE', `/api/v1/nodes/${spec.name}`).catch(() => undefined)
    throw thrown
  }
  return extended
}

/**
 * The plan with one more node, at the first place that nobody has. Pure.
 *
 * @throws MayflyError `CONFIG_INVALID` when a pod subnet has no room for it
 */
export function planWithNode(plan: ClusterPlan, spec: NodeSpec): ClusterPlan {
  const ipv4 = plan.subnets.find((cidr) => !cidr.includes(':'))
  const ipv6 = plan.subnets.find((cidr) => cidr.includes(':'))
  const subnets = { ...(ipv4 && { ipv4 }), ...(ipv6 && { ipv6 }) }
  const taken = new Set(plan.nodes.flatMap(({ addresses, podCidrs }) => [...addresses, ...podCidrs]))
  const places = planCluster(withNodes(plan.spec, [...plan.spec.nodes, spec]), subnets).nodes
  const place = places.find(
    ({ addresses, podCidrs }) => ![...addresses, ...podCidrs].some((a) => taken.has(a)),
  )
  if (!place) throw new Error(`no place for node ${spec.name}`)
  return {
    ...plan,
    spec: withNodes(plan.spec, [...plan.spec.nodes, spec]),
    nodes: [...plan.nodes, { ...place, spec }],
  }
}

/** The plan without one of its nodes. Pure. */
export function planWithoutNode(plan: ClusterPlan, name: string): ClusterPlan {
  const others = plan.nodes.filter(({ spec }) => spec.name !== name)
  return {
    ...plan,
    spec: withNodes(
      plan.spec,
      others.map(({ spec }) => spec),
    ),
    nodes: others,
  }
}

function withNodes(spec: ClusterSpec, nodes: readonly NodeSpec[]): ClusterSpec {
  return { ...spec, nodes }
}

/** The Node object that a boot would have written to etcd; who it is, the API server decides. */
function nodeObject(plan: ClusterPlan, { snapshot, authorities }: JoinOptions, name: string): object {
  const seeds = seedObjects(plan, snapshot.manifest, authorities.ca.certificate)
  const seed = seeds.find(({ key }) => key === `/registry/minions/${name}`)
  if (!seed) throw new Error(`no seed for node ${name}`)
  const { metadata, ...rest } = seed.value as { metadata: Record<string, unknown> }
  const { labels, annotations } = metadata
  return { ...rest, metadata: { name, labels, annotations } }
}
