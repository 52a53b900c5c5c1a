import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readdir, readFile, rm, stat, utimes } from 'node:fs/promises'
import { join, relative, sep } from 'node:path'
import { text } from 'node:stream/consumers'
import { extract } from 'tar-stream'
import {
  type BaseSnapshot,
  cacheDir,
  controlPlaneNames,
  deriveSnapshot,
  identityKeys,
  manifestText,
  placedSnapshotDir,
  type StoredSnapshot,
  shippedSnapshotDir,
  snapshotVersion,
  writeSnapshot,
} from '../boot/index.ts'
import { type ClusterFields, type ClusterSpec, snapshotFingerprint } from '../config/index.ts'
import { type Engine, execOrThrow, execStream, inspectImage } from '../engine/index.ts'
import { MayflyError, messageOf } from '../errors.ts'
import { imagesOfNode, type NodeImage } from '../images/index.ts'
import type { KubeObject } from '../kube/index.ts'
import { folderOf, type Snapshot } from './snapshot.ts'
import type { SnapshotTarget } from './take.ts'

/** Raised when the layout of a saved cluster changes. */
const savedVersion = 1

/** Beside the base snapshot that other clusters are restored from: what they have to be like. */
const documentName = 'saved.json'

interface SavedDocument {
  version: number
  /** See `snapshotVersion` in src/boot. */
  snapshotVersion: number
  /** As container engines name it, such as `amd64`. */
  architecture: string
  /** Of the configuration, without its node image. */
  fingerprint: string
  /** What decides the state: networking, feature gates, kubeadm patches. */
  config: ClusterFields
  /** Images that were loaded onto the nodes. */
  images: NodeImage[]
  /** SHA-256 of each other file by its path. */
  files: Record<string, string>
}

/** The state of a cluster in a folder of this host, for others to be made of. */
export interface SavedCluster {
  base: StoredSnapshot
  architecture: string
  fingerprint: string
  config: ClusterFields
  /** Images that the cluster's nodes had beyond those of the node image. */
  images: SavedImage[]
}

/** An image that a saved cluster had. */
export interface SavedImage extends NodeImage {
  /** A `docker save` archive of it, where the folder has one; else the engine is asked for it. */
  archive?: string
}

/** The cluster whose snapshot is saved. */
export interface SavedSource extends Omit<SnapshotTarget, 'kube'> {
  /** What it was restored from itself. */
  base: BaseSnapshot
  signal?: AbortSignal | undefined
}

/**
 * Brings a snapshot to a folder of this host, without what only its own cluster can use: keys, certificates, nodes,
 * tokens, data of volumes. The same snapshot comes to the same folder.
 */
export async function saveCluster(
  { engine, plan, base, signal }: SavedSource,
  snapshot: Snapshot,
): Promise<SavedCluster> {
  const [controlPlane = ''] = controlPlaneNames(plan)
  const [{ image = '' } = {}] = plan.spec.nodes
  const dir = base.kind === 'shipped' ? shippedSnapshotDir : placedSnapshotDir
  const [answer, baseFiles, { Architecture: architecture }, images] = await Promise.all([
    execOrThrow(engine, controlPlane, ['mayfly-node', 'snapshot-export'], {
      stdin: JSON.stringify({ dir: folderOf(snapshot.name), omit: identityKeys }),
      signal,
    }),
    folderFiles(engine, controlPlane, dir, signal),
    inspectImage(engine, image, { signal }),
    plan.spec.controlPlaneOnly
      ? []
      : imagesOfNode(engine, { name: controlPlane, containerId: controlPlane }, signal),
  ])
  const { state, pods, namespaces } = JSON.parse(answer) as Exported
  const etcd = Buffer.from(state, 'base64')
  const { manifest, contents } = deriveSnapshot(base.manifest, baseFiles, { etcd, pods, namespaces })
  const digests = [...contents, ['snapshot.json', manifestText(manifest)] as const].map(
    ([path, content]) => [path, digestOf(content)] as const,
  )
  const document = JSON.stringify({
    version: savedVersion,
    snapshotVersion,
    architecture,
    fingerprint: snapshotFingerprint(plan.spec),
    config: configOf(plan.spec),
    images,
    files: Object.fromEntries(digests),
  } satisfies SavedDocument)
  const target = join(cacheDir(), `${savedPrefix}${digestOf(document).slice(0, 16)}`)
  await removeUnused()
  if (!existsSync(join(target, documentName))) {
    await writeSnapshot(target, manifest, [...contents, [documentName, document]])
  }
  const saved = await openFolder(target, target)
  // Files travel to machines that name their images otherwise; here the image is known to be there.
  return { ...saved, config: { ...saved.config, image } }
}

/** How the names of saved clusters' folders begin. */
export const savedPrefix = 'saved-'

/** A folder that nothing was made of for so long is removed, in milliseconds. */
const unusedForMs = 30 * 24 * 60 * 60 * 1000

async function removeUnused(): Promise<void> {
  const names = await readdir(cacheDir()).catch(() => [])
  for (const name of names.filter((one) => one.startsWith(savedPrefix))) {
    const path = join(cacheDir(), name)
    const { mtimeMs } = await stat(path)
    if (Date.now() - mtimeMs > unusedForMs) await rm(path, { recursive: true, force: true })
  }
}

function digestOf(content: string | Buffer): string {
  return createHash('sha256').update(content).digest('hex')
}

/** What `mayfly-node snapshot-export` answers; its twin is in node-image/mayfly-node/internal/rollback/export.go. */
interface Exported {
  state: string
  pods: KubeObject[]
  namespaces: string[]
}

/** The regular files of a folder of a node, by their paths in it. */
async function folderFiles(
  engine: Engine,
  node: string,
  dir: string,
  signal: AbortSignal | undefined,
): Promise<Map<string, Buffer>> {
  const running = await execStream(engine, node, ['tar', '-C', dir, '-cf', '-', '.'], {
    stdin: false,
    signal,
  })
  const complaint = text(running.stderr).catch(messageOf)
  const archive = extract()
  running.stdout.on('error', (error) => archive.destroy(error))
  running.stdout.pipe(archive)
  const files = new Map<string, Buffer>()
  for await (const entry of archive) {
    const chunks: Buffer[] = []
    for await (const chunk of entry) chunks.push(chunk as Buffer)
    if (entry.header.type === 'file') files.set(entry.header.name.replace(/^\.\//, ''), Buffer.concat(chunks))
  }
  if ((await running.exited) === 0) return files
  throw new MayflyError('EXEC_FAILED', `Folder ${dir} of node ${node} can't be read`, {
    output: await complaint,
  })
}

/** The part of a configuration that other clusters of the state have to have as well. */
function configOf(spec: ClusterSpec): ClusterFields {
  const { ipFamily, podSubnets, serviceSubnets, kubeProxyMode, disableDefaultCNI } = spec.networking
  return structuredClone({
    controlPlaneOnly: spec.controlPlaneOnly,
    nodes: spec.nodes.map(({ role, kubeadmConfigPatches, kubeadmConfigPatchesJSON6902 }) => ({
      role,
      kubeadmConfigPatches,
      kubeadmConfigPatchesJSON6902,
    })),
    networking: {
      ipFamily,
      podSubnet: podSubnets,
      serviceSubnet: serviceSubnets,
      kubeProxyMode,
      disableDefaultCNI,
    },
    featureGates: spec.featureGates,
    runtimeConfig: spec.runtimeConfig,
    kubeadmConfigPatches: spec.kubeadmConfigPatches,
    kubeadmConfigPatchesJSON6902: spec.kubeadmConfigPatchesJSON6902,
  }) as ClusterFields
}

/**
 * Opens the folder of a saved cluster.
 *
 * @param named What errors call it
 * @param verify Compares each file with what was saved; default false
 * @throws MayflyError `SNAPSHOT_UNFIT`
 */
export async function openFolder(
  dir: string,
  named: string,
  { verify = false }: { verify?: boolean } = {},
): Promise<SavedCluster> {
  const read = async <T>(file: string): Promise<T> => {
    try {
      return JSON.parse(await readFile(join(dir, file), 'utf8')) as T
    } catch (thrown) {
      throw unfit(named, `is no snapshot of a cluster: ${messageOf(thrown)}`, thrown)
    }
  }
  const document = await read<SavedDocument>(documentName)
  if (document.version !== savedVersion || document.snapshotVersion !== snapshotVersion) {
    const versions = `${document.version}.${document.snapshotVersion}, not ${savedVersion}.${snapshotVersion}`
    throw unfit(named, `was saved by another version of mayfly: its format is ${versions}`)
  }
  if (verify) await assertWhole(dir, document, named)
  const manifest = await read<StoredSnapshot['manifest']>('snapshot.json')
  const { architecture, fingerprint, config, images } = document
  const now = new Date()
  await utimes(dir, now, now)
  return {
    base: { dir, manifest },
    architecture,
    fingerprint,
    config,
    images: images.map((image) => {
      const archive = join(dir, archiveOf(image))
      return existsSync(archive) ? { ...image, archive } : image
    }),
  }
}

/** Path of an image's archive in a saved cluster's folder. */
export function archiveOf({ id }: NodeImage): string {
  return `images/${id.replace('sha256:', '')}.tar`
}

async function assertWhole(dir: string, { files, images }: SavedDocument, named: string): Promise<void> {
  const archives = new Set(images.map(archiveOf))
  const entries = await readdir(dir, { recursive: true, withFileTypes: true })
  const found = entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(dir, join(entry.parentPath, entry.name)).split(sep).join('/'))
    // The content of an image is checked against its id when it is loaded.
    .filter((path) => path !== documentName && !archives.has(path))
  const paths = new Set([...found, ...Object.keys(files)])
  for (const path of paths) {
    const content = await readFile(join(dir, path)).catch(() => undefined)
    if (content && digestOf(content) === files[path]) continue
    throw unfit(named, `was changed since it was saved: ${path} is ${content ? 'another' : 'missing'}`)
  }
}

/**
 * Makes sure that a cluster can be made of a saved one.
 *
 * @param named What the error calls the saved cluster
 * @throws MayflyError `SNAPSHOT_UNFIT`
 */
export async function assertFits(
  engine: Engine,
  { architecture, fingerprint, config }: SavedCluster,
  spec: ClusterSpec,
  named: string,
): Promise<void> {
  if (snapshotFingerprint(spec) !== fingerprint) {
    throw new MayflyError(
      'SNAPSHOT_UNFIT',
      `The configuration asks for another network, other feature gates or kubeadm patches than ${named} has`,
      { hint: 'Leave them out: they come with the snapshot' },
    )
  }
  if (config.controlPlaneOnly && !spec.controlPlaneOnly) {
    throw new MayflyError(
      'SNAPSHOT_UNFIT',
      `${named} is of a control plane only: what nodes need is not in it`,
      { hint: 'Leave `controlPlaneOnly` as it comes with the snapshot, or save one of a cluster with nodes' },
    )
  }
  for (const image of new Set(spec.nodes.map(({ image }) => image))) {
    const found = await inspectImage(engine, image).catch(() => undefined)
    if (found && found.Architecture !== architecture) {
      throw unfit(
        named,
        `was saved on ${architecture}, and node image "${image}" is for ${found.Architecture}`,
      )
    }
  }
}

/** The error for a saved cluster that no cluster can be made of. */
export function unfit(named: string, why: string, cause?: unknown): MayflyError {
  return new MayflyError('SNAPSHOT_UNFIT', `${named} ${why}`, {
    hint: 'Save the snapshot anew, with this version of mayfly and on this architecture',
    cause,
  })
}
