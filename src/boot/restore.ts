import { randomUUID } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { ContainerFile } from '../engine/index.ts'
import { type ClusterAuthorities, controlPlaneFiles, workerFiles } from '../pki/index.ts'
import { controlPlaneOnlyFiles, keysOfNodes } from './control-plane-only.ts'
import { certificateSettings, hasOwnKubeletConfiguration, nodeRegistration } from './kubeadm.ts'
import { nodeDocumentFile } from './node-document.ts'
import {
  apiServerPort,
  bracketed,
  type ClusterPlan,
  controlPlaneAddress,
  controlPlaneHost,
  controlPlanes,
  type PlannedNode,
} from './plan.ts'
import { type SeededPod, seededPods } from './pod-templates.ts'
import { providerId, type Seed, seedObjects } from './seeds.ts'
import {
  kubeletConfigPath,
  placedSnapshotDir,
  type SnapshotManifest,
  shippedSnapshotDir,
} from './snapshot-manifest.ts'
import type { StoredSnapshot } from './snapshot-store.ts'
import { placeholders, trimVariable } from './static-pods.ts'

/** A base snapshot to restore: the one in the node image, or one of this host's. */
export type BaseSnapshot =
  | { kind: 'shipped'; manifest: SnapshotManifest }
  | ({ kind: 'stored' } & StoredSnapshot)

/** Everything that is put into each node's container before it starts, by node name. */
export async function filesForNodes(
  plan: ClusterPlan,
  snapshot: BaseSnapshot,
  authorities: ClusterAuthorities,
): Promise<Map<string, ContainerFile[]>> {
  const placed = snapshot.kind === 'stored' ? await snapshotFiles(snapshot.dir) : []
  // Members of one etcd cluster must start from the same keys and values, to the byte.
  const etcd: SharedState = {
    token: randomUUID(),
    objects: seedObjects(plan, snapshot.manifest, authorities.ca.certificate),
    pods: plan.spec.controlPlaneOnly ? [] : seededPods(plan, snapshot.manifest),
  }
  const files = plan.nodes.map(
    async (node): Promise<[string, ContainerFile[]]> => [
      node.spec.name,
      [
        ...(await identityFiles(plan, node, authorities)),
        ...stateFiles(plan, node, snapshot, etcd),
        ...placed,
      ],
    ],
  )
  return new Map(await Promise.all(files))
}

async function snapshotFiles(dir: string): Promise<ContainerFile[]> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  return Promise.all(
    files.map(async (path) => ({
      path: `${placedSnapshotDir}${path.slice(dir.length)}`,
      content: await readFile(path),
    })),
  )
}

async function identityFiles(
  plan: ClusterPlan,
  { spec, addresses }: PlannedNode,
  authorities: ClusterAuthorities,
): Promise<ContainerFile[]> {
  const cluster = { name: plan.spec.name, apiServerEndpoint: `https://${controlPlaneHost}:${apiServerPort}` }
  if (spec.role === 'worker') return workerFiles(authorities, { name: spec.name }, cluster)
  const { apiServerAddress } = plan.spec.networking
  const { certSans, dnsDomain } = certificateSettings(plan)
  const addressesOfHost = specificAddress(apiServerAddress)
  const { engineHost } = plan
  if (engineHost !== undefined) addressesOfHost.push(engineHost)
  const extraSans = [controlPlaneHost, ...(plan.loadBalancer ?? []), ...addressesOfHost, ...certSans]
  return controlPlaneFiles(
    authorities,
    { name: spec.name, ips: addresses },
    { ...cluster, serviceIps: plan.apiServiceAddresses, extraSans, dnsDomain },
  )
}

/** An address that means "all of them" names no server. */
function specificAddress(address: string): string[] {
  return address === '0.0.0.0' || address === '::' ? [] : [address]
}

/** What all members of the etcd cluster have in common. */
interface SharedState {
  token: string
  objects: Seed[]
  pods: SeededPod[]
}

function stateFiles(
  plan: ClusterPlan,
  node: PlannedNode,
  { kind, manifest }: BaseSnapshot,
  { token, objects, pods }: SharedState,
): ContainerFile[] {
  const controlPlane = node.spec.role === 'control-plane'
  const members = controlPlanes(plan.nodes).map(({ spec, addresses }) => `${spec.name}=${peerUrl(addresses)}`)
  const etcdCluster = members.join(',')
  const { controlPlaneOnly } = plan.spec
  const files = controlPlaneOnly
    ? controlPlaneOnlyFiles(manifest)
    : controlPlane
      ? manifest.controlPlaneFiles
      : manifest.workerFiles
  const hasNetwork = !plan.spec.networking.disableDefaultCNI && !controlPlaneOnly
  const document = nodeDocumentFile({
    base: kind === 'shipped' ? shippedSnapshotDir : placedSnapshotDir,
    files: files.filter((path) => path !== kubeletConfigPath || !hasOwnKubeletConfiguration(node.spec)),
    values: placeholderValues(plan, node, etcdCluster),
    podCIDRs: hasNetwork ? node.podCidrs : [],
    routes: hasNetwork ? routesFrom(plan, node) : [],
    apiService: {
      addresses: plan.apiServiceAddresses,
      endpoint: `${bracketed(controlPlaneAddress(plan, node))}:${apiServerPort}`,
    },
    ...(controlPlane && {
      etcd: { name: node.spec.name, peerURL: peerUrl(node.addresses), initialCluster: etcdCluster, token },
    }),
    omit: controlPlaneOnly ? keysOfNodes(plan) : [],
    pods: controlPlane ? pods : [],
    objects: controlPlane ? objects : [],
  })
  return controlPlaneOnly ? [document] : [document, kubeletFlags(plan, node)]
}

function peerUrl([address = '']: readonly string[]): string {
  return `https://${bracketed(address)}:2380`
}

/** One route for each pod subnet of every other node. */
function routesFrom(plan: ClusterPlan, from: PlannedNode): { to: string; via: string }[] {
  return plan.nodes
    .filter((node) => node !== from)
    .flatMap(({ podCidrs, addresses }) =>
      podCidrs.map((to, family) => ({ to, via: addresses[family] ?? '' })).filter(({ via }) => via !== ''),
    )
}

/** What kubeadm would have passed to the kubelet of this node. */
function kubeletFlags(plan: ClusterPlan, node: PlannedNode): ContainerFile {
  const own = [
    { name: 'node-ip', value: node.addresses.join(',') },
    { name: 'provider-id', value: providerId(plan, node.spec.name) },
  ]
  const { kubeletArguments: given } = nodeRegistration(plan, node)
  const all = [...own.filter(({ name }) => given.every((other) => other.name !== name)), ...given]
  const flags = all.map(({ name, value }) => `--${name}=${value}`)
  return {
    path: '/var/lib/kubelet/kubeadm-flags.env',
    content: `KUBELET_KUBEADM_ARGS="${flags.join(' ')}"\n${trimVariable.name}=${trimVariable.value}\n`,
  }
}

/** The values that stand for the placeholders of a snapshot's files on one node. */
function placeholderValues(
  plan: ClusterPlan,
  node: PlannedNode,
  etcdCluster: string,
): Record<string, string> {
  const several = plan.loadBalancer !== undefined
  const values: Record<keyof typeof placeholders, string> = {
    nodeName: node.spec.name,
    nodeAddress: node.addresses[0] ?? '',
    clusterName: plan.spec.name,
    etcdCluster,
    // With one replica there is nobody to elect against, and the election takes seconds.
    leaderElection: String(several),
    // A single member elects itself as soon as it gave up waiting for a leader; the times of several are etcd's own.
    etcdHeartbeat: several ? '100' : '20',
    etcdElection: several ? '1000' : '100',
  }
  return Object.fromEntries(
    Object.entries(placeholders).map(([name, placeholder]) => [
      placeholder,
      values[name as keyof typeof placeholders],
    ]),
  )
}
