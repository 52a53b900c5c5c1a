import { randomBytes } from 'node:crypto'
import { type ClusterSpec, isDefaultBootSpec, specFingerprint } from '../config/index.ts'
import {
  containerLogs,
  createContainer,
  type Engine,
  execOrThrow,
  type Privilege,
  putFiles,
  startContainer,
} from '../engine/index.ts'
import { type Kube, list, waitAvailable } from '../kube/index.ts'
import { deleteCluster, ownership } from '../reaper/index.ts'
import { until, type WaitLimits } from '../wait.ts'
import { installAddons } from './addons.ts'
import type { BootOptions } from './boot-options.ts'
import { checkHost } from './check-host.ts'
import { withComplaints } from './complaints.ts'
import { connectThroughNode } from './connect.ts'
import { nodeContainer } from './containers.ts'
import { apiServerEndpoint } from './endpoints.ts'
import { type KubeadmTarget, kubeadmConfig } from './kubeadm.ts'
import { createClusterNetwork, networkName } from './network.ts'
import { whileNodesRun } from './node-death.ts'
import { type NodeImageFacts, nodeImageFacts } from './node-image.ts'
import { type ClusterPlan, familiesOf, type PlannedNode, planCluster } from './plan.ts'
import { waitForApiServer, waitForPodsAndNodes } from './ready.ts'
import type { BaseSnapshot } from './restore.ts'
import { withSecondAttempt } from './second-attempt.ts'
import type { SnapshotManifest } from './snapshot-manifest.ts'
import { findSnapshot, type StoredSnapshot, saveSnapshot, snapshotDir } from './snapshot-store.ts'

/** The snapshot that fits, made first where there is none. */
export async function baseSnapshot(
  spec: ClusterSpec,
  image: NodeImageFacts,
  options: BootOptions,
): Promise<BaseSnapshot> {
  if (image.shipped && isDefaultBootSpec(spec)) return { kind: 'shipped', manifest: image.shipped }
  const imageIds = Object.fromEntries(spec.nodes.map((node) => [node.image, image.id]))
  const fingerprint = specFingerprint(spec, imageIds)
  const stored = await findSnapshot(fingerprint, image.kubernetes)
  if (stored) return { kind: 'stored', ...stored }
  const step = 'Bake a base snapshot for this configuration (once)'
  const target = { fingerprint, dir: snapshotDir(fingerprint, image.kubernetes) }
  const baked = await options.progress.step(step, async () =>
    bake(spec, target, image, await checkHost(spec, options), options),
  )
  return { kind: 'stored', ...baked }
}

/** Makes the base snapshot that a node image ships, for the default configuration, in a folder of this host. */
export async function bakeForImage(
  spec: ClusterSpec,
  dir: string,
  options: BootOptions,
): Promise<SnapshotManifest> {
  const image = await nodeImageFacts(options.engine, spec)
  const privilege = await checkHost(spec, options)
  const target = { fingerprint: specFingerprint(spec, {}), dir }
  const { manifest } = await bake(spec, target, image, privilege, options)
  return manifest
}

/** Where a base snapshot is put, and by what it is found. */
interface BakeTarget {
  fingerprint: string
  dir: string
}

/** Boots one node of a configuration through kubeadm, saves its state, and throws it away. */
function bake(
  spec: ClusterSpec,
  target: BakeTarget,
  image: NodeImageFacts,
  privilege: Privilege,
  options: BootOptions,
): Promise<StoredSnapshot> {
  const { note } = options.progress
  return withSecondAttempt(() => bakeOnce(spec, target, image, privilege, options), note)
}

async function bakeOnce(
  spec: ClusterSpec,
  { fingerprint, dir }: BakeTarget,
  image: NodeImageFacts,
  privilege: Privilege,
  { engine, signal, timeoutMs }: BootOptions,
): Promise<StoredSnapshot> {
  const first = spec.nodes.find(({ role }) => role === 'control-plane')
  if (!first) throw new Error('a specification without a control plane')
  // A name of its own: several may bake at once, for clusters of one name even.
  const name = `mayfly-bake-${randomBytes(4).toString('hex')}`
  // Mounts stay, for patches may name what is in them, as audit policies.
  const { cpus: _cpus, memoryBytes: _memory, ...unlimited } = first
  const node = { ...unlimited, name: `${name}-control-plane`, extraPortMappings: [] }
  const networking = { ...spec.networking, apiServerPort: 0 }
  // Proxies would be written into the snapshot; whoever uses it may have others, or none.
  const { proxy: _proxy, ...direct } = spec
  const single: ClusterSpec = { ...direct, name, nodes: [node], networking }
  // Whatever becomes of the cluster, this one is not kept.
  const labels = ownership(name)
  try {
    const { network, subnets } = await createClusterNetwork(
      engine,
      networkName(single),
      familiesOf(single),
      labels,
    )
    const plan = planCluster(single, subnets, engine)
    const [planned] = plan.nodes
    if (!planned) throw new Error('a plan without a node')
    const container = nodeContainer(plan, planned, { privilege, labels, network: network.name })
    await createContainer(engine, container, { signal })
    await startContainer(engine, container.name, { signal })
    const limits = { timeoutMs, signal }
    await whileNodesRun(engine, plan, limits, async (waiting) => {
      await waitForInit(engine, container.name, waiting)
      await withComplaints(
        engine,
        () => [container.name],
        () => initWithKubeadm(engine, plan, planned, { kubernetes: image.kubernetes }, waiting),
      )
    })
    using kube = await connectThroughNode(engine, plan, container.name)
    // kubeadm saw it answer, but on a busy host the kubelet may have started it again since.
    await waitForApiServer(kube, limits)
    await leadToApiServer(engine, plan, planned, kube)
    await installAddons(engine, plan, planned, kube)
    await untaint(kube, container.name)
    await waitForPodsAndNodes(kube, plan, limits)
    await waitForRollouts(kube, plan, limits)
    return await saveSnapshot(engine, plan, planned, kube, { fingerprint, kubernetes: image.kubernetes, dir })
  } finally {
    await deleteCluster(engine, name)
  }
}

async function waitForInit(engine: Engine, container: string, limits: WaitLimits): Promise<void> {
  await until(
    `node ${container} to start its units`,
    async () =>
      /Reached target .*Multi-User System/.test(await containerLogs(engine, container)) || undefined,
    { ...limits, intervalMs: 100 },
  )
}

/** Runs kubeadm in the one node of a plan. */
async function initWithKubeadm(
  engine: Engine,
  plan: ClusterPlan,
  node: PlannedNode,
  target: KubeadmTarget,
  { timeoutMs, signal }: WaitLimits,
): Promise<void> {
  const container = node.spec.name
  const config = { path: '/kind/kubeadm.conf', content: kubeadmConfig(plan, node, target), mode: 0o600 }
  await putFiles(engine, container, [config])
  const init = ['kubeadm', 'init', '--config=/kind/kubeadm.conf', '--skip-token-print']
  await execOrThrow(engine, container, init, { timeoutMs, signal })
}

/**
 * Without kube-proxy pods would not reach the API server's Service, and never get ready. Nodes that are restored have
 * such a rule from the start.
 */
async function leadToApiServer(
  engine: Engine,
  plan: ClusterPlan,
  node: PlannedNode,
  kube: Kube,
): Promise<void> {
  const daemonSets = await list(
    kube,
    { apiVersion: 'apps/v1', kind: 'DaemonSet' },
    { namespace: 'kube-system' },
  )
  if (daemonSets.some(({ metadata }) => metadata.name === 'kube-proxy')) return
  const [service = ''] = plan.apiServiceAddresses
  const rule = ['-d', service, '-p', 'tcp', '--dport', '443', '-j', 'DNAT']
  const program = service.includes(':') ? 'ip6tables' : 'iptables'
  const target = ['--to-destination', apiServerEndpoint(node.addresses)]
  for (const chain of ['PREROUTING', 'OUTPUT']) {
    await execOrThrow(engine, node.spec.name, [program, '-t', 'nat', '-A', chain, ...rule, ...target])
  }
}

/** What was changed since kubeadm made it is rolled out: pods as they were before would be saved beside the new ones. */
async function waitForRollouts(kube: Kube, { spec }: ClusterPlan, limits: WaitLimits): Promise<void> {
  // Without a network no pod but those of the host's gets far.
  const kinds = spec.networking.disableDefaultCNI ? ['DaemonSet'] : ['DaemonSet', 'Deployment']
  const lists = await Promise.all(kinds.map((kind) => list(kube, { apiVersion: 'apps/v1', kind })))
  await waitAvailable(kube, lists.flat(), limits)
}

/** The only node of a cluster runs pods as well. */
async function untaint(kube: Kube, node: string): Promise<void> {
  await kube.request('PATCH', `/api/v1/nodes/${node}`, {
    headers: { 'content-type': 'application/merge-patch+json' },
    body: { spec: { taints: null } },
    doing: `let ${node} run pods`,
  })
}
