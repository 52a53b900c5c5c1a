/** Turns a ClusterSpec into a running cluster. */
import { randomBytes } from 'node:crypto'
import { type ClusterSpec, isDefaultBootSpec, specFingerprint } from '../config/index.ts'
import {
  assertHostFit,
  containerLogs,
  createContainer,
  type Engine,
  engineStatus,
  inspectContainer,
  inspectImage,
  type Privilege,
  preflight,
  publishedPort,
  putFiles,
  readFile,
  startContainer,
  waitForExit,
} from '../engine/index.ts'
import { MayflyError } from '../errors.ts'
import { connectKube, type Kube } from '../kube/index.ts'
import { adminKubeconfig, type ClusterAuthorities, createAuthorities } from '../pki/index.ts'
import type { Progress } from '../progress/index.ts'
import { deleteCluster, type Labels, ownership } from '../reaper/index.ts'
import { until, type WaitLimits, waitError } from '../wait.ts'
import {
  findSnapshot,
  initWithKubeadm,
  installAddons,
  type StoredSnapshot,
  saveSnapshot,
  snapshotDir,
} from './bake.ts'
import { withComplaints } from './complaints.ts'
import { type NodeSurroundings, nodeContainer } from './containers.ts'
import { loadBalancerName, startLoadBalancer, startOnFreePort } from './entry.ts'
import { createClusterNetwork } from './network.ts'
import { nodeImageLabel, nodeImageVersion } from './node-document.ts'
import { nodeSettingsFiles } from './node-settings.ts'
import {
  apiServerPort,
  type ClusterPlan,
  controlPlanes,
  familiesOf,
  type PlannedNode,
  planCluster,
} from './plan.ts'
import { waitForApiServer, waitForDns, waitForPodsAndNodes } from './ready.ts'
import { type BaseSnapshot, filesForNodes } from './restore.ts'
import { type SnapshotManifest, snapshotLabel } from './snapshot-manifest.ts'

export type { StoredSnapshot } from './bake.ts'
export { loadBalancerName, loadBalancerRole } from './entry.ts'
export { type JoinOptions, joinWorker, planWithoutNode } from './join.ts'
export { nodeImageLabel, nodeImageVersion } from './node-document.ts'
export { apiServerPort, type ClusterPlan, type PlannedNode } from './plan.ts'
export type { BaseSnapshot } from './restore.ts'
export { waitUntilUsable } from './resume.ts'
export { shippedSnapshotDir, snapshotLabel } from './snapshot-manifest.ts'

/** What a boot is given besides the specification. */
export interface BootOptions extends WaitLimits {
  engine: Engine
  labels: Labels
  progress: Progress
  /**
   * Runs beside the rest of the boot as soon as the nodes' containers run; the boot ends when this has ended, and fails
   * when this fails. Its signal fires when the boot fails.
   */
  onNodesStarted?: ((nodes: readonly string[], signal: AbortSignal) => Promise<void>) | undefined
}

/** A cluster that runs. */
export interface BootedCluster {
  plan: ClusterPlan
  /** For the host: the API server's published port. */
  kubeconfig: string
  kube: Kube
  authorities: ClusterAuthorities
  /** What it was restored from, and what nodes that join later are. */
  snapshot: BaseSnapshot
}

/** What is known of the node image. */
interface NodeImageFacts {
  id: string
  kubernetes: string
  shipped: SnapshotManifest | undefined
}

/**
 * Boots a cluster and waits until it is usable: every node Ready, every pod that it brings Ready, DNS answering. What
 * was made is left to the caller to remove when this fails.
 */
export async function bootCluster(spec: ClusterSpec, options: BootOptions): Promise<BootedCluster> {
  const { engine, progress, signal } = options
  const image = await nodeImageFacts(engine, spec)
  const privilege = await progress.step('Check the host', () => checkHost(spec, options))
  assertWanted(signal)
  // The network comes first of all that is made: of several that want one name, its maker has it.
  const [authorities, { network, subnets }] = await progress.step('Prepare keys and network', () =>
    Promise.all([createAuthorities(), claimNetwork(engine, spec, options.labels)]),
  )
  const snapshot = await baseSnapshot(spec, image, privilege, options)
  assertWanted(signal)
  const plan = planCluster(spec, subnets)
  const surroundings: NodeSurroundings = { engine, privilege, labels: options.labels, network: network.name }
  const count = spec.nodes.length === 1 ? 'the node' : `${spec.nodes.length} nodes`
  await progress.step(`Start ${count}`, () => startNodes(plan, snapshot, authorities, surroundings))
  const { kube, kubeconfig } = await beside(
    (limits) => bringUp(plan, authorities, { ...options, ...limits }),
    ({ signal }) =>
      options.onNodesStarted?.(
        plan.nodes.map((node) => node.spec.name),
        signal,
      ),
    options,
  )
  return { plan, kubeconfig, kube, authorities, snapshot }
}

/** Waits for a cluster whose containers run. */
async function bringUp(
  plan: ClusterPlan,
  authorities: ClusterAuthorities,
  options: BootOptions,
): Promise<{ kube: Kube; kubeconfig: string }> {
  const { engine, progress } = options
  const connection = await progress.step('Start the control plane', () =>
    whileNodesRun(engine, plan, options, async (limits) => {
      const connection = await connect(engine, plan, authorities)
      const names = controlPlanes(plan.nodes).map((node) => node.spec.name)
      await withComplaints(
        engine,
        () => names,
        () => waitForApiServer(connection.kube, limits),
      )
      return connection
    }),
  )
  await progress.step('Wait until the cluster is usable', () =>
    whileNodesRun(engine, plan, options, async (limits) => {
      await withComplaints(
        engine,
        ({ message }) =>
          plan.nodes.map((node) => node.spec.name).filter((name) => message.includes(`node ${name} `)),
        () => waitForPodsAndNodes(connection.kube, plan, limits),
      )
      if (!plan.spec.networking.disableDefaultCNI) await waitForDns(engine, plan, limits)
    }),
  )
  return connection
}

/** Runs two things side by side. When one fails, the other is aborted, and the failure is told when both have ended. */
async function beside<T>(
  first: (limits: { signal: AbortSignal }) => Promise<T>,
  second: (limits: { signal: AbortSignal }) => Promise<void> | undefined,
  { signal }: { signal?: AbortSignal | undefined },
): Promise<T> {
  const stop = new AbortController()
  const limits = { signal: signal ? AbortSignal.any([signal, stop.signal]) : stop.signal }
  let failure: { thrown: unknown } | undefined
  const guarded = async <R>(work: () => Promise<R>): Promise<R | undefined> => {
    try {
      return await work()
    } catch (thrown) {
      failure ??= { thrown }
      stop.abort(thrown)
      return undefined
    }
  }
  const [result] = await Promise.all([guarded(() => first(limits)), guarded(async () => second(limits))])
  if (failure) throw failure.thrown
  return result as T
}

/** The name or address of the control plane for whoever is in the cluster's network. */
export function controlPlaneEndpoint(plan: ClusterPlan): string {
  return (plan.loadBalancer ?? controlPlanes(plan.nodes)[0]?.addresses ?? [''])[0] ?? ''
}

/** The container network of a cluster. */
export function networkName({ name }: Pick<ClusterSpec, 'name'>): string {
  return `mayfly-${name}`
}

/**
 * Makes the cluster's network, and takes its name with it.
 *
 * @throws MayflyError `CLUSTER_EXISTS` when somebody else has the name
 */
async function claimNetwork(
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

/** Between steps that take no signal nothing more is begun once the caller gave up. */
function assertWanted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw waitError('the cluster', 'its boot under way', { timeoutMs: 0, signal })
}

/** What is known of the image that the first control plane boots from; the other nodes' images are checked too. */
async function nodeImageFacts(engine: Engine, { nodes }: ClusterSpec): Promise<NodeImageFacts> {
  const ordered = [...nodes].sort((one, other) => one.role.localeCompare(other.role))
  const images = [...new Set(ordered.map(({ image }) => image))]
  const [first] = await Promise.all(images.map((image) => imageFacts(engine, image)))
  if (!first) throw new Error('a specification without nodes')
  return first
}

async function imageFacts(engine: Engine, image: string): Promise<NodeImageFacts> {
  const found = await inspectImage(engine, image).catch((thrown: unknown) => {
    if (engineStatus(thrown) !== 404) throw thrown
  })
  if (!found) {
    throw new MayflyError('NODE_IMAGE_MISSING', `${engine.describe()} has no image "${image}"`, {
      hint: 'Build it with `npx mayfly build node-image`, or name another node image',
    })
  }
  const labels: Record<string, string> = found.Config?.Labels ?? {}
  const kubernetes = labels['io.mayfly.kubernetes']
  const version = labels[nodeImageLabel]
  if (kubernetes === undefined || version !== nodeImageVersion) {
    const why =
      kubernetes === undefined
        ? 'is no node image of mayfly: it lacks the label io.mayfly.kubernetes'
        : `was built by another version of mayfly: its label ${nodeImageLabel} is ${version}, not ${nodeImageVersion}`
    throw new MayflyError('NODE_IMAGE_UNFIT', `Image "${image}" ${why}`, {
      hint: 'Build a node image with `npx mayfly build node-image`',
    })
  }
  const shipped = labels[snapshotLabel]
  return {
    id: found.Id,
    kubernetes,
    shipped: shipped ? (JSON.parse(shipped) as SnapshotManifest) : undefined,
  }
}

async function checkHost(
  spec: ClusterSpec,
  { engine, progress, signal, labels }: BootOptions,
): Promise<Privilege> {
  const [{ image = '' } = {}] = spec.nodes
  const { findings, privilege } = await preflight(
    engine,
    { nodes: spec.nodes.map(({ role }) => role), image },
    { signal, labels },
  )
  assertHostFit(engine, findings)
  for (const { severity, sentence } of findings) if (severity === 'warning') progress.note(sentence)
  return privilege
}

/** The snapshot that fits, made first where there is none. */
async function baseSnapshot(
  spec: ClusterSpec,
  image: NodeImageFacts,
  privilege: Privilege,
  options: BootOptions,
): Promise<BaseSnapshot> {
  if (image.shipped && isDefaultBootSpec(spec)) return { kind: 'shipped', manifest: image.shipped }
  const imageIds = Object.fromEntries(spec.nodes.map((node) => [node.image, image.id]))
  const fingerprint = specFingerprint(spec, imageIds)
  const stored = await findSnapshot(fingerprint, image.kubernetes)
  if (stored) return { kind: 'stored', ...stored }
  const step = 'Bake a base snapshot for this configuration (once)'
  const target = { fingerprint, dir: snapshotDir(fingerprint, image.kubernetes) }
  const baked = await options.progress.step(step, () => bake(spec, target, image, privilege, options))
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

/** Boots one node of a configuration through kubeadm, saves its state, and throws it away. */
async function bake(
  spec: ClusterSpec,
  { fingerprint, dir }: { fingerprint: string; dir: string },
  image: NodeImageFacts,
  privilege: Privilege,
  { engine, labels: owner, signal, timeoutMs }: BootOptions,
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
  const labels = { ...owner, ...ownership(name) }
  try {
    const { network, subnets } = await createClusterNetwork(
      engine,
      networkName(single),
      familiesOf(single),
      labels,
    )
    const plan = planCluster(single, subnets)
    const [planned] = plan.nodes
    if (!planned) throw new Error('a plan without a node')
    const container = nodeContainer(plan, planned, { engine, privilege, labels, network: network.name })
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
    await installAddons(engine, plan, planned, kube)
    await untaint(kube, container.name)
    await waitForPodsAndNodes(kube, plan, limits)
    return await saveSnapshot(engine, plan, planned, kube, { fingerprint, kubernetes: image.kubernetes, dir })
  } finally {
    await deleteCluster(engine, name)
  }
}

async function waitForInit(engine: Engine, container: string, limits: WaitLimits): Promise<void> {
  await until(
    `node ${container} to start its units`,
    async () => (await containerLogs(engine, container)).includes('Reached target') || undefined,
    { ...limits, intervalMs: 100 },
  )
}

/** The only node of a cluster runs pods as well. */
async function untaint(kube: Kube, node: string): Promise<void> {
  await kube.request('PATCH', `/api/v1/nodes/${node}`, {
    headers: { 'content-type': 'application/merge-patch+json' },
    body: { spec: { taints: null } },
    doing: `let ${node} run pods`,
  })
}

async function connectThroughNode(engine: Engine, plan: ClusterPlan, container: string): Promise<Kube> {
  const admin = String(await readFile(engine, container, '/etc/kubernetes/super-admin.conf'))
  const port = publishedPort(await inspectContainer(engine, container), apiServerPort)
  return connectKube(admin.replace(/server: .*/, `server: https://${hostAddress(plan)}:${port}`))
}

async function startNodes(
  plan: ClusterPlan,
  snapshot: BaseSnapshot,
  authorities: ClusterAuthorities,
  surroundings: NodeSurroundings,
): Promise<void> {
  const { engine } = surroundings
  const files = filesForNodes(plan, snapshot, authorities)
  // Handled below, by whichever node awaits it first; until then a failure must not end the process.
  files.catch(() => undefined)
  const make = async (node: PlannedNode, more: Partial<NodeSurroundings> = {}): Promise<string> => {
    const container = nodeContainer(plan, node, { ...surroundings, ...more })
    await createContainer(engine, container)
    const settings = await nodeSettingsFiles(engine, container.name, plan, node, snapshot)
    await putFiles(engine, container.name, [...((await files).get(container.name) ?? []), ...settings])
    return container.name
  }
  const entry = plan.loadBalancer ? undefined : controlPlanes(plan.nodes)[0]
  // All have ended before the first failure is told: what they make must not appear after the roll-back.
  const outcomes = await Promise.allSettled([
    startLoadBalancer(plan, surroundings),
    ...plan.nodes.map(async (node) => {
      if (node === entry) {
        await startOnFreePort(engine, plan, (apiServerHostPort) => make(node, { apiServerHostPort }))
      } else await startContainer(engine, await make(node))
    }),
  ])
  const failure = outcomes.find((outcome) => outcome.status === 'rejected')
  if (failure) throw failure.reason
}

async function connect(
  engine: Engine,
  plan: ClusterPlan,
  authorities: ClusterAuthorities,
): Promise<{ kube: Kube; kubeconfig: string }> {
  const [first] = controlPlanes(plan.nodes)
  const entry = plan.loadBalancer ? loadBalancerName(plan) : (first?.spec.name ?? '')
  const port = publishedPort(await inspectContainer(engine, entry), apiServerPort)
  const server = `https://${hostAddress(plan)}:${port}`
  const kubeconfig = await adminKubeconfig(authorities, { name: plan.spec.name, server })
  return { kubeconfig, kube: connectKube(kubeconfig) }
}

/** Where this process reaches ports that the engine publishes. */
function hostAddress({ spec }: ClusterPlan): string {
  const { apiServerAddress } = spec.networking
  if (apiServerAddress === '0.0.0.0') return '127.0.0.1'
  return apiServerAddress.includes(':')
    ? `[${apiServerAddress === '::' ? '::1' : apiServerAddress}]`
    : apiServerAddress
}

/** Ends a wait at once when a node's container ends, with the end of its log. */
async function whileNodesRun<T>(
  engine: Engine,
  plan: ClusterPlan,
  { timeoutMs, signal }: WaitLimits,
  wait: (limits: WaitLimits) => Promise<T>,
): Promise<T> {
  const stop = new AbortController()
  const limit = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal
  const deaths = plan.nodes.map(({ spec }) => nodeDeath(engine, spec.name, limit, stop))
  try {
    return await Promise.race([wait({ timeoutMs, signal: limit }), ...deaths])
  } finally {
    stop.abort()
  }
}

/** Rejects when a container ends; stays pending otherwise. */
async function nodeDeath(
  engine: Engine,
  name: string,
  signal: AbortSignal,
  stop: AbortController,
): Promise<never> {
  const code = await waitForExit(engine, name, { signal }).catch(() => undefined)
  if (signal.aborted || code === undefined) return new Promise<never>(() => undefined)
  const output = await containerLogs(engine, name, { tail: 40 })
  const error = new MayflyError(
    'NODE_EXITED',
    `Node ${name} ended with exit code ${code} while the cluster booted`,
    { output },
  )
  queueMicrotask(() => stop.abort(error))
  throw error
}
