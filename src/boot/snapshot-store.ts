import { randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { buffer, text } from 'node:stream/consumers'
import { type Engine, execStream, readFile as readNodeFile } from '../engine/index.ts'
import { MayflyError } from '../errors.ts'
import { type Kube, list } from '../kube/index.ts'
import type { ClusterPlan, PlannedNode } from './plan.ts'
import { podTemplates } from './pod-templates.ts'
import { kubeletConfigPath, type SnapshotManifest, snapshotVersion } from './snapshot-manifest.ts'
import {
  type RecordedPod,
  recordedPodTemplates,
  type StaticPodTemplate,
  staticPodTemplate,
} from './static-pods.ts'

/** A base snapshot on this host. */
export interface StoredSnapshot {
  dir: string
  manifest: SnapshotManifest
}

/** Where snapshots are kept on this host. */
export function cacheDir(): string {
  const cache =
    process.env['MAYFLY_CACHE_DIR'] ??
    join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'mayfly')
  return join(cache, 'snapshots')
}

/** Where the base snapshot of a configuration is kept on this host. */
export function snapshotDir(fingerprint: string, kubernetes: string): string {
  return join(cacheDir(), `${kubernetes}-${fingerprint.slice(0, 16)}`)
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

/**
 * Keys that are the identity of one cluster, or the memory of its processes: a snapshot is made without them, and each
 * cluster gets or makes its own. The patterns are Go's path.Match.
 */
export const identityKeys = [
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
  '/registry/resourceslices/*',
  '/registry/secrets/kube-system/bootstrap-token-*',
  '/registry/services/endpoints/*/*',
  '/registry/volumeattachments/*',
]

function manifestPath(staticPod: string): string {
  return `/etc/kubernetes/manifests/${staticPod}.yaml`
}

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
  const recorded = JSON.parse(String(await save(engine, container, 'static-pods-save'))) as RecordedPod[]
  const staticPods = new Map<string, StaticPodTemplate>()
  for (const name of ['etcd', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler']) {
    const manifest = String(await readNodeFile(engine, container, manifestPath(name)))
    const uid = recorded.find((pod) => pod.name === name)?.uid
    staticPods.set(name, staticPodTemplate(manifest, from, uid))
  }
  const files: Record<string, string> = {
    ...Object.fromEntries([...staticPods].map(([name, { manifest }]) => [manifestPath(name), manifest])),
    [kubeletConfigPath]: String(await readNodeFile(engine, container, kubeletConfigPath)),
  }
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
  const etcd = await save(engine, container, 'state-save', { omit: identityKeys })
  const contents = [
    ...Object.entries(files).map(([path, content]) => [`files${path}`, content] as const),
    ...templates.map(({ template, text }) => [`pods/${template.name}.json`, text] as const),
    ['etcd.jsonl.gz', etcd] as const,
    ['static-pods.json', recordedPodTemplates(recorded, staticPods, from)] as const,
  ]
  await writeSnapshot(dir, manifest, contents)
  return { dir, manifest }
}

/** Runs a subcommand of mayfly-node that writes what there is to save to its standard output. */
async function save(engine: Engine, container: string, command: string, request?: object): Promise<Buffer> {
  const { stdin, stdout, stderr, exited } = await execStream(engine, container, ['mayfly-node', command])
  stdin.end(request ? JSON.stringify(request) : undefined)
  const [saved, complaint, exitCode] = await Promise.all([buffer(stdout), text(stderr), exited])
  if (exitCode !== 0) {
    throw new MayflyError('EXEC_FAILED', `mayfly-node ${command} failed on ${container}`, {
      output: complaint,
    })
  }
  return saved
}

/** The files of a snapshot beside its manifest, by their paths. */
export type SnapshotContents = readonly (readonly [path: string, content: string | Buffer])[]

/** The text of `snapshot.json`. */
export function manifestText(manifest: SnapshotManifest): string {
  return `${JSON.stringify(manifest, undefined, 2)}\n`
}

/** The snapshot appears whole or not at all; of several that make the same one, the last wins. */
export async function writeSnapshot(
  dir: string,
  manifest: SnapshotManifest,
  contents: SnapshotContents,
): Promise<void> {
  const draft = `${dir}.draft-${randomUUID()}`
  for (const [path, content] of contents) {
    await mkdir(dirname(join(draft, path)), { recursive: true })
    await writeFile(join(draft, path), content)
  }
  await writeFile(join(draft, 'snapshot.json'), manifestText(manifest))
  await placeFolder(draft, dir)
}

/** Gives a folder its name; where another process has just done the same, that one's stays. */
export async function placeFolder(draft: string, dir: string): Promise<void> {
  await rm(dir, { recursive: true, force: true })
  try {
    await rename(draft, dir)
  } catch (thrown) {
    if (!['ENOTEMPTY', 'EEXIST'].includes((thrown as NodeJS.ErrnoException).code ?? '')) throw thrown
    await rm(draft, { recursive: true, force: true })
  }
}
