/** Turns a ClusterSpec into a running cluster. */
import type { ClusterSpec } from '../config/index.ts'
import { noPrivilege } from '../engine/index.ts'
import { MayflyError } from '../errors.ts'
import { createLayersVolume, engineStoreMounts } from '../images/index.ts'
import type { Kube } from '../kube/index.ts'
import { type ClusterAuthorities, createAuthorities } from '../pki/index.ts'
import { waitError } from '../wait.ts'
import { baseSnapshot } from './bake.ts'
import { beside } from './beside.ts'
import type { BootOptions } from './boot-options.ts'
import { assertReachable, checkHost } from './check-host.ts'
import { withComplaints } from './complaints.ts'
import { connectAsAdmin } from './connect.ts'
import type { NodeSurroundings } from './containers.ts'
import { withHostPorts } from './host-ports.ts'
import { assertPhasesRun } from './kubeadm.ts'
import { claimNetwork } from './network.ts'
import { whileNodesRun } from './node-death.ts'
import { type NodeImageFacts, nodeImageFacts } from './node-image.ts'
import { type ClusterPlan, controlPlanes, planCluster, podCidrPools } from './plan.ts'
import { waitForApiServer, waitForControllers, waitForDns, waitForPodsAndNodes } from './ready.ts'
import type { BaseSnapshot } from './restore.ts'
import type { StoredSnapshot } from './snapshot-store.ts'
import { startNodes } from './start-nodes.ts'

export { bakeForImage } from './bake.ts'
export type { BootOptions } from './boot-options.ts'
export { connectAsAdmin } from './connect.ts'
export { deriveSnapshot, type PortableState } from './derived-snapshot.ts'
export { apiServerPort, publishedAddress } from './endpoints.ts'
export { loadBalancerName, loadBalancerRole } from './entry.ts'
export { type JoinOptions, joinNode } from './join.ts'
export { removeNode } from './leave.ts'
export { networkName } from './network.ts'
export { nodeImageContentLabel, nodeImageLabel, nodeImageVersion } from './node-document.ts'
export { type ClusterPlan, controlPlaneEndpoint, controlPlaneNames, type PlannedNode } from './plan.ts'
export type { BaseSnapshot } from './restore.ts'
export { waitUntilUsable } from './resume.ts'
export { placeBehindLoadBalancer } from './several.ts'
export { placedSnapshotDir, shippedSnapshotDir, snapshotLabel, snapshotVersion } from './snapshot-manifest.ts'
export {
  cacheDir,
  identityKeys,
  manifestText,
  placeFolder,
  type StoredSnapshot,
  writeSnapshot,
} from './snapshot-store.ts'

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

/**
 * Boots a cluster and waits until it is usable: every node Ready, every pod that it brings Ready, DNS answering. What
 * was made is left to the caller to remove when this fails.
 */
export async function bootCluster(spec: ClusterSpec, options: BootOptions): Promise<BootedCluster> {
  const { engine, progress, signal } = options
  assertReachable(spec, engine)
  // Told of now, before anything is made.
  podCidrPools(spec)
  assertPhasesRun(spec)
  const image = await nodeImageFacts(engine, spec)
  const base = options.base && given(options.base, image)
  // A control plane alone needs nothing of the host that other containers do not have.
  const { privilege, engineStore } = spec.controlPlaneOnly
    ? { privilege: noPrivilege, engineStore: [] }
    : await progress.step('Check the host', () => whatNodesGet(spec, options))
  assertWanted(signal)
  // The network comes first of all that is made: of several that want one name, its maker has it.
  const [authorities, { network, subnets, layersVolume }] = await progress.step(
    'Prepare keys and network',
    () => Promise.all([createAuthorities(), claimName(spec, options)]),
  )
  const snapshot = base ?? (await baseSnapshot(spec, image, options))
  assertWanted(signal)
  const plan = planCluster(await withHostPorts(spec), subnets, engine)
  const { labels } = options
  const surroundings: NodeSurroundings = {
    engine,
    privilege,
    labels,
    network: network.name,
    engineStore,
    ...(layersVolume !== undefined && { layersVolume }),
  }
  const count = spec.controlPlaneOnly
    ? 'the container'
    : spec.nodes.length === 1
      ? 'the node'
      : `${spec.nodes.length} nodes`
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

/** What the engine and its host can give nodes. */
async function whatNodesGet(
  spec: ClusterSpec,
  options: BootOptions,
): Promise<Required<Pick<NodeSurroundings, 'privilege' | 'engineStore'>>> {
  const [{ image = '' } = {}] = spec.nodes
  const privilege = await checkHost(spec, options)
  return { privilege, engineStore: await engineStoreMounts(options.engine, image, options) }
}

/** Makes what bears the cluster's name, and with it takes the name. */
async function claimName(spec: ClusterSpec, { engine, labels }: BootOptions) {
  const claimed = await claimNetwork(engine, spec, labels)
  const layersVolume = spec.controlPlaneOnly ? undefined : await createLayersVolume(engine, spec.name, labels)
  return { ...claimed, layersVolume }
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
      const connection = await connectAsAdmin(engine, plan, authorities)
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
      if (plan.spec.controlPlaneOnly) return waitForControllers(connection.kube, limits)
      const pods = await withComplaints(
        engine,
        ({ message }) =>
          plan.nodes.map((node) => node.spec.name).filter((name) => message.includes(`node ${name} `)),
        () => waitForPodsAndNodes(connection.kube, plan, limits),
      )
      await waitForDns(engine, plan, pods, limits)
    }),
  )
  return connection
}

/** @throws MayflyError `SNAPSHOT_UNFIT` when it is of another version of Kubernetes than the node image */
function given(base: StoredSnapshot, { kubernetes }: NodeImageFacts): BaseSnapshot {
  if (base.manifest.kubernetes === kubernetes) return { kind: 'stored', ...base }
  throw new MayflyError(
    'SNAPSHOT_UNFIT',
    `The snapshot is of Kubernetes ${base.manifest.kubernetes}, the node image of ${kubernetes}`,
    { hint: `Name a node image of Kubernetes ${base.manifest.kubernetes}, or save the snapshot anew` },
  )
}

/** Between steps that take no signal nothing more is begun once the caller gave up. */
function assertWanted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw waitError('the cluster', 'its boot under way', { timeoutMs: 0, signal })
}
