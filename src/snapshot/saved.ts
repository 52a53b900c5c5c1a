import { createHash } from 'node:crypto'
import { createReadStream, createWriteStream, existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, join, resolve, sep } from 'node:path'
import { text } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { createGunzip, createGzip } from 'node:zlib'
import { extract, pack } from 'tar-stream'
import {
  type BaseSnapshot,
  cacheDir,
  controlPlaneNames,
  deriveSnapshot,
  identityKeys,
  placedSnapshotDir,
  type StoredSnapshot,
  shippedSnapshotDir,
  snapshotVersion,
} from '../boot/index.ts'
import { type ClusterFields, type ClusterSpec, snapshotFingerprint } from '../config/index.ts'
import { type Engine, execOrThrow, execStream, inspectImage } from '../engine/index.ts'
import { MayflyError, messageOf } from '../errors.ts'
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
}

/** The state of a cluster in a folder of this host, for others to be made of. */
export interface SavedCluster {
  base: StoredSnapshot
  architecture: string
  fingerprint: string
  config: ClusterFields
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
  const [first] = plan.spec.nodes
  const dir = base.kind === 'shipped' ? shippedSnapshotDir : placedSnapshotDir
  const [answer, baseFiles, { Architecture: architecture }] = await Promise.all([
    execOrThrow(engine, controlPlane, ['mayfly-node', 'snapshot-export'], {
      stdin: JSON.stringify({ dir: folderOf(snapshot.name), omit: identityKeys }),
      signal,
    }),
    folderFiles(engine, controlPlane, dir, signal),
    inspectImage(engine, first?.image ?? '', { signal }),
  ])
  const { state, pods, namespaces } = JSON.parse(answer) as Exported
  const etcd = Buffer.from(state, 'base64')
  const document: SavedDocument = {
    version: savedVersion,
    snapshotVersion,
    architecture,
    fingerprint: snapshotFingerprint(plan.spec),
    config: configOf(plan.spec),
  }
  const hash = createHash('sha256')
    .update(etcd)
    .update(JSON.stringify([document, base.manifest, pods]))
  const target = join(cacheDir(), `saved-${hash.digest('hex').slice(0, 16)}`)
  if (!existsSync(join(target, documentName))) {
    await deriveSnapshot(base.manifest, baseFiles, { etcd, pods, namespaces }, target)
    await writeFile(join(target, documentName), JSON.stringify(document))
  }
  return openFolder(target, target)
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

/** Packs a saved cluster into one file: a gzipped tar archive. The file appears whole or not at all. */
export async function packCluster({ base }: SavedCluster, file: string): Promise<void> {
  const archive = pack()
  const draft = `${file}.draft-${process.pid}`
  await mkdir(dirname(resolve(file)), { recursive: true })
  const written = pipeline(archive, createGzip(), createWriteStream(draft, { mode: 0o600 }))
  try {
    for (const entry of await readdir(base.dir, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue
      const path = join(entry.parentPath, entry.name)
      archive.entry(
        {
          name: path
            .slice(base.dir.length + 1)
            .split(sep)
            .join('/'),
        },
        await readFile(path),
      )
    }
    archive.finalize()
    await written
    await rename(draft, file)
  } catch (thrown) {
    archive.destroy()
    await rm(draft, { force: true })
    throw thrown
  }
}

/**
 * Opens a file that {@link packCluster} wrote.
 *
 * @throws MayflyError `SNAPSHOT_UNFIT` when it is none, or of another version of mayfly
 */
export async function unpackCluster(file: string): Promise<SavedCluster> {
  const hash = createHash('sha256')
  try {
    await pipeline(createReadStream(file), hash)
  } catch (thrown) {
    throw unfit(file, `can't be read: ${messageOf(thrown)}`, thrown)
  }
  const target = join(cacheDir(), `saved-${hash.digest('hex').slice(0, 16)}`)
  if (existsSync(join(target, documentName))) return openFolder(target, file)
  const draft = `${target}.draft-${process.pid}`
  try {
    await unpack(file, draft)
    const opened = await openFolder(draft, file)
    await rm(target, { recursive: true, force: true })
    await rename(draft, target)
    return { ...opened, base: { ...opened.base, dir: target } }
  } finally {
    await rm(draft, { recursive: true, force: true })
  }
}

async function unpack(file: string, dir: string): Promise<void> {
  const archive = extract()
  const read = pipeline(createReadStream(file), createGunzip(), archive)
  read.catch(() => undefined)
  try {
    for await (const entry of archive) {
      const path = resolve(dir, entry.header.name)
      // Whoever made the file has no say in what else this host has.
      if (entry.header.type !== 'file' || !path.startsWith(resolve(dir) + sep)) {
        throw new Error(`it has an entry "${entry.header.name}"`)
      }
      await mkdir(dirname(path), { recursive: true })
      await writeFile(path, entry as AsyncIterable<Buffer>)
    }
    await read
  } catch (thrown) {
    throw unfit(file, `is no snapshot of a cluster: ${messageOf(thrown)}`, thrown)
  }
}

async function openFolder(dir: string, named: string): Promise<SavedCluster> {
  let document: SavedDocument
  let manifest: StoredSnapshot['manifest']
  try {
    document = JSON.parse(await readFile(join(dir, documentName), 'utf8')) as SavedDocument
    manifest = JSON.parse(await readFile(join(dir, 'snapshot.json'), 'utf8')) as StoredSnapshot['manifest']
  } catch (thrown) {
    throw unfit(named, `is no snapshot of a cluster: ${messageOf(thrown)}`, thrown)
  }
  if (document.version !== savedVersion || document.snapshotVersion !== snapshotVersion) {
    const versions = `${document.version}.${document.snapshotVersion}, not ${savedVersion}.${snapshotVersion}`
    throw unfit(named, `was saved by another version of mayfly: its format is ${versions}`)
  }
  const { architecture, fingerprint, config } = document
  return { base: { dir, manifest }, architecture, fingerprint, config }
}

/**
 * Makes sure that a cluster can be made of a saved one.
 *
 * @param named What the error calls the saved cluster
 * @throws MayflyError `SNAPSHOT_UNFIT`
 */
export async function assertFits(
  engine: Engine,
  { architecture, fingerprint }: SavedCluster,
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

function unfit(named: string, why: string, cause?: unknown): MayflyError {
  return new MayflyError('SNAPSHOT_UNFIT', `${named} ${why}`, {
    hint: 'Save the snapshot anew, with this version of mayfly and on this architecture',
    cause,
  })
}
