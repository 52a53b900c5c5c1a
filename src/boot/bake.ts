import { existsSync } from 'node:fs'
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { buffer, text } from 'node:stream/consumers'
import { type Engine, execOrThrow, execStream, putFiles, readFile as readNodeFile } from '../engine/index.ts'
import { MayflyError } from '../errors.ts'
import { applyAll, type Kube, list, parseManifests } from '../kube/index.ts'
import type { WaitLimits } from '../wait.ts'
import { type KubeadmTarget, kubeadmConfig, placeholders, staticPodTemplate } from './kubeadm.ts'
import { apiServerPort, type ClusterPlan, controlPlaneHost, type PlannedNode } from './plan.ts'
import { podTemplates } from './pod-templates.ts'
import { kubeletConfigPath, type SnapshotManifest, snapshotVersion } from './snapshot-manifest.ts'

/**
 * Keys that are the identity of one cluster, or the memory of its processes: a snapshot is made without them, and each
 * cluster gets or makes its own. The patterns are Go's path.Match.
 */
const identityKeys = [
  '/registry/apiregistration.k8s.io/apiservices-status/*',
  '/registry/certificatesigningrequests/*',
  '/registry/clustertrustbundles/*',
  '/registry/configmaps/*/kube-root-ca.crt',
  '/registry/configmaps/kube-public/cluster-info',
  '/registry/configmaps/kube-system/extension-apiserver-authentication',
  '/registry/csinodes/*',
  '/registry/endpointslices/*/*',
  '/registry/events/*/*',
  '/registry/leases/*/*',
  '/registry/masterleases/*',
  '/registry/minions/*',
  '/registry/peerserverleases/*',
  '/registry/pods/*/*',
  '/registry/replicasets-status/*/*',
  '/registry/secrets/kube-system/bootstrap-token-*',
  '/registry/services/endpoints/*/*',
]

/** Runs kubeadm in the one node of a plan, and gives the cluster its network and its storage class. */
export async function initWithKubeadm(
  engine: Engine,
  plan: ClusterPlan,
  node: PlannedNode,
  target: KubeadmTarget,
  { timeoutMs, signal }: WaitLimits,
): Promise<void> {
  const container = node.spec.name
  const config = { path: '/kind/kubeadm.conf', content: kubeadmConfig(plan, node, target), mode: 0o600 }
  await putFiles(engine, container, [config])
  const init = [
    'kubeadm',
    'init',
    '--config=/kind/kubeadm.conf',

    '--skip-token-print',
  ]
  await execOrThrow(engine, container, init, { timeoutMs, signal })
}

/** Installs what every cluster has beyond kubeadm's: the network daemon and the default storage class. */
export async function installAddons(
  engine: Engine,
  plan: ClusterPlan,
  node: PlannedNode,
  kube: Kube,
): Promise<void> {
  const container = node.spec.name
  const manifests = ['/kind/manifests/default-storage.yaml']
  if (!plan.spec.networking.disableDefaultCNI) manifests.push('/kind/manifests/default-cni.yaml')
  const texts = await Promise.all(
    manifests.map(async (path) => String(await readNodeFile(engine, container, path))),
  )
  const objects = texts.flatMap((manifest, at) =>
    parseManifests(
      manifest.replaceAll('{{ .PodSubnet }}', plan.spec.networking.podSubnets.join(',')),
      manifests[at] ?? '',
    ),
  )
  for (const object of objects) {
    if (object.kind === 'DaemonSet') pointAtControlPlane(object as unknown as WorkloadObject)
  }
  await applyAll(kube, objects, { timeoutMs: 60_000 })
  await quickenProbes(kube)
}

interface WorkloadObject {
  spec: { template: { spec: { containers: { env?: { name: string; value: string }[] }[] } } }
}

/** The network daemon must not wait for kube-proxy, which waits for nobody else. */
function pointAtControlPlane(daemonSet: WorkloadObject): void {
  for (const container of daemonSet.spec.template.spec.containers) {
    const endpoint = { name: 'CONTROL_PLANE_ENDPOINT', value: `${controlPlaneHost}:${apiServerPort}` }
    container.env = [...(container.env ?? []), endpoint]
  }
}

/** CoreDNS is asked every second from the start on: ten are an age for a cluster that lives for a minute. */
async function quickenProbes(kube: Kube): Promise<void> {
  const path = '/apis/apps/v1/namespaces/kube-system/deployments/coredns'
  const readinessProbe = { initialDelaySeconds: 0, periodSeconds: 1 }
  await kube.request('PATCH', path, {
    headers: { 'content-type': 'application/strategic-merge-patch+json' },
    body: { spec: { template: { spec: { containers: [{ name: 'coredns', readinessProbe }] } } } },
    doing: 'quicken the probes of CoreDNS',
  })
}

/** A base snapshot on this host. */
export interface StoredSnapshot {
  dir: string
  manifest: SnapshotManifest
}

/** Where base snapshots are kept on this host. */
export function snapshotDir(fingerprint: string, kubernetes: string): string {
  const cache =
    process.env['MAYFLY_CACHE_DIR'] ??
    join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'mayfly')
  return join(cache, 'snapshots', `${kubernetes}-${fingerprint.slice(0, 16)}`)
}

/** The base snapshot with a fingerprint, if this host has it. */
export async function findSnapshot(
  fingerprint: string,
  kubernetes: string,
): Promise<StoredSnapshot | undefined> {
  const dir = snapshotDir(fingerprint, kubernetes)
  if (!existsSync(join(dir, 'snapshot.json'))) return undefined
  const manifest = JSON.parse(await readFile(join(dir, 'snapshot.json'), 'utf8')) as SnapshotManifest
  return manifest.version === snapshotVersion ? { dir, manifest } : undefined
}

const manifestDir = '/etc/kubernetes/manifests'

/** Saves the state of a cluster of one node, made by kubeadm, as a base snapshot in a folder of this host. */
export async function saveSnapshot(
  engine: Engine,
  plan: ClusterPlan,
  node: PlannedNode,
  kube: Kube,
  { fingerprint, kubernetes, dir }: { fingerprint: string; kubernetes: string; dir: string },
): Promise<StoredSnapshot> {
  const container = node.spec.name
  const address = node.addresses[0] ?? ''
  const from = { name: container, address, cluster: plan.spec.name }
  const staticPods = ['etcd', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler']
  const files: Record<string, string> = {}
  for (const name of staticPods) {
    const path = `${manifestDir}/${name}.yaml`
    files[path] = staticPodTemplate(String(await readNodeFile(engine, container, path)), from)
  }
  files[kubeletConfigPath] = String(await readNodeFile(engine, container, kubeletConfigPath))
  const templates = podTemplates(await list(kube, { apiVersion: 'v1', kind: 'Pod' }))
  const namespaces = await list(kube, { apiVersion: 'v1', kind: 'Namespace' })
  const manifest: SnapshotManifest = {
    version: snapshotVersion,
    kubernetes,
    fingerprint,
    namespaces: namespaces.map(({ metadata }) => metadata.name ?? '').sort(),
    controlPlaneFiles: Object.keys(files),
    workerFiles: [kubeletConfigPath],
    pods: templates.map(({ template }) => template),
  }
  const etcd = await saveState(engine, container)
  const contents = [
    ...Object.entries(files).map(([path, content]) => [`files${path}`, content] as const),
    ...templates.map(({ template, text }) => [`pods/${template.name}.json`, text] as const),
    ['etcd.jsonl.gz', etcd] as const,
  ]
  await writeSnapshot(dir, manifest, contents)
  return { dir, manifest }
}

async function saveState(engine: Engine, container: string): Promise<Buffer> {
  const { stdin, stdout, stderr, exited } = await execStream(engine, container, ['mayfly-node', 'state-save'])
  stdin.end(JSON.stringify({ omit: identityKeys }))
  const [state, complaint, exitCode] = await Promise.all([buffer(stdout), text(stderr), exited])
  if (exitCode !== 0) {
    throw new MayflyError('EXEC_FAILED', `mayfly-node state-save failed on ${container}`, {
      output: complaint,
    })
  }
  return state
}

/** The snapshot appears whole or not at all; of two processes that bake the same one, the last wins. */
async function writeSnapshot(
  dir: string,
  manifest: SnapshotManifest,
  contents: readonly (readonly [path: string, content: string | Buffer])[],
): Promise<void> {
  const draft = `${dir}.draft-${process.pid}`
  for (const [path, content] of contents) {
    await mkdir(dirname(join(draft, path)), { recursive: true })
    await writeFile(join(draft, path), content)
  }
  await writeFile(join(draft, 'snapshot.json'), `${JSON.stringify(manifest, undefined, 2)}\n`)
  await rm(dir, { recursive: true, force: true })
  await rename(draft, dir)
}

/** The values that stand for the placeholders of a snapshot's files on one node. */
export function placeholderValues(
  plan: ClusterPlan,
  node: PlannedNode,
  etcdCluster: string,
): Record<string, string> {
  const values: Record<keyof typeof placeholders, string> = {
    nodeName: node.spec.name,
    nodeAddress: node.addresses[0] ?? '',
    clusterName: plan.spec.name,
    etcdCluster,
    // With one replica there is nobody to elect against, and the election takes seconds.
    leaderElection: String(plan.loadBalancer !== undefined),
  }
  return Object.fromEntries(
    Object.entries(placeholders).map(([name, placeholder]) => [
      placeholder,
      values[name as keyof typeof placeholders],
    ]),
  )
}
