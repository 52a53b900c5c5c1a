import { randomUUID } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { ContainerFile } from '../engine/index.ts'
import { type ClusterAuthorities, controlPlaneFiles, workerFiles } from '../pki/index.ts'
import { certificateSettings } from './cluster-configuration.ts'
import { controlPlaneOnlyFiles, keysOfNodes } from './control-plane-only.ts'
import { apiServerEndpoint, apiServerPort, bracketed, controlPlaneHost } from './endpoints.ts'
import { hasOwnKubeletConfiguration, nodeRegistration } from './kubeadm.ts'
import { nodeDocumentFile } from './node-document.ts'
import {
  type ClusterPlan,
  controlPlaneAddress,
  controlPlanes,
  loadBalancerAddresses,
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
import { placeholders } from './static-pods.ts'

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
  const placed = await placedFiles(snapshot)
  const members = controlPlanes(plan.nodes).map(({ spec, addresses }) => `${spec.name}=${peerUrl(addresses)}`)
  const etcd: EtcdOrigin = {
    initialCluster: members.join(','),
    // Members of one etcd cluster must start from the same keys and values, to the byte.
    born: {
      token: randomUUID(),
      objects: seedObjects(plan, snapshot.manifest, authorities.ca.certificate),
      pods: plan.spec.controlPlaneOnly ? [] : seededPods(plan, snapshot.manifest),
    },
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

/**
 * Everything that is put into the container of a node that joins later.
 *
 * @param initialCluster The members of etcd, in etcd's own notation; empty for a worker
 */
export async function filesForJoiningNode(
  plan: ClusterPlan,
  node: PlannedNode,
  snapshot: BaseSnapshot,
  authorities: ClusterAuthorities,
  initialCluster: string,
): Promise<ContainerFile[]> {
  return [
    ...(await identityFiles(plan, node, authorities)),
    ...stateFiles(plan, node, snapshot, { initialCluster }),
    ...(await placedFiles(snapshot)),
  ]
}

async function placedFiles(snapshot: BaseSnapshot): Promise<ContainerFile[]> {
  return snapshot.kind === 'stored' ? snapshotFiles(snapshot.dir) : []
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
  // The load balancer's as well where there is none yet: one comes with a second control plane.
  const extraSans = [controlPlaneHost, ...loadBalancerAddresses(plan), ...addressesOfHost, ...certSans]
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

/** How a member of etcd comes into being. */
interface EtcdOrigin {
  initialCluster: string
  /** What all members have in common that are made with the cluster; absent: it gets everything from the others. */
  born?: { token: string; objects: Seed[]; pods: SeededPod[] }
}

function stateFiles(
  plan: ClusterPlan,
  node: PlannedNode,
  { kind, manifest }: BaseSnapshot,
  etcd: EtcdOrigin,
): ContainerFile[] {
  const controlPlane = node.spec.role === 'control-plane'
  const born = controlPlane ? etcd.born : undefined
  const { initialCluster } = etcd
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
    values: placeholderValues(plan, node, etcd),
    podCIDRs: hasNetwork ? node.podCidrs : [],
    routes: hasNetwork ? routesFrom(plan, node) : [],
    apiService: {
      addresses: plan.apiServiceAddresses,
      endpoint: apiServerEndpoint([controlPlaneAddress(plan, node)]),
    },
    ...(born && {
      etcd: { name: node.spec.name, peerURL: peerUrl(node.addresses), initialCluster, token: born.token },
    }),
    omit: controlPlaneOnly ? keysOfNodes(plan) : [],
    pods: born?.pods ?? [],
    objects: born?.objects ?? [],
  })
  return controlPlaneOnly ? [document] : [document, kubeletFlags(plan, node)]
}

/** By which the members of etcd reach each other. */
export function peerUrl([address = '']: readonly string[]): string {
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
    content: `KUBELET_KUBEADM_ARGS="${flags.join(' ')}"\n`,
  }
}

/** What depends on whether a control plane may be one of several. */
export function electionValues(several: boolean) {
  return {
    // With one replica there is nobody to elect against, and the election takes seconds.
    leaderElection: String(several),
    // A single member elects itself as soon as it gave up waiting for a leader; the times of several are etcd's own.
    etcdHeartbeat: several ? '100' : '20',
    etcdElection: several ? '1000' : '100',
  }
}

/** The values that stand for the placeholders of a snapshot's files on one node. */
function placeholderValues(
  plan: ClusterPlan,
  node: PlannedNode,
  { initialCluster, born }: EtcdOrigin,
): Record<string, string> {
  const maskSizeOf = (family: (cidr: string) => boolean) => node.podCidrs.find(family)?.split('/')[1] ?? ''
  const values: Record<keyof typeof placeholders, string> = {
    nodeName: node.spec.name,
    nodeAddress: node.addresses[0] ?? '',
    clusterName: plan.spec.name,
    etcdCluster: initialCluster,
    etcdClusterState: born ? 'new' : 'existing',
    ...electionValues(plan.loadBalancer !== undefined),
    nodeMaskSizeIpv4: maskSizeOf((cidr) => !cidr.includes(':')),
    nodeMaskSizeIpv6: maskSizeOf((cidr) => cidr.includes(':')),
  }
  return Object.fromEntries(
    Object.entries(placeholders).map(([name, placeholder]) => [
      placeholder,
      values[name as keyof typeof placeholders],
    ]),
  )
}
