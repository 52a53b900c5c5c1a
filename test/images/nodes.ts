/** Bare node containers: a container runtime and no Kubernetes, which is all that loading images needs. */
import {
  createContainer,
  type Engine,
  exec,
  execOrThrow,
  kernelModules,
  probePrivilege,
  startContainer,
} from '../../src/engine/index.ts'
import { engineStoreMounts, type ImageNode, sharedLayersMounts } from '../../src/images/index.ts'
import { label } from '../../src/reaper/index.ts'
import { until } from '../../src/wait.ts'

const image = process.env['MAYFLY_NODE_IMAGE'] ?? 'mayfly/node:v1.37.2'

/** How a node differs from the usual one. */
export interface NodeOptions {
  /** It sees the engine's layers. Default true. */
  shared?: boolean
  /** It shares a volume for layers with those that name the same one. */
  layersVolume?: string
  /** Size of its disk; default the engine's. */
  disk?: string
  /** Without `mayfly-node`, as a node image of kind's. Default false. */
  foreign?: boolean
}

/** Starts a node of a cluster and waits for its container runtime. */
export async function startNode(
  engine: Engine,
  cluster: string,
  name: string,
  { shared = true, layersVolume, disk, foreign = false }: NodeOptions = {},
): Promise<ImageNode> {
  const privilege = await probePrivilege(engine, image)
  const fullName = `${cluster}-${name}`
  const containerId = await createContainer(engine, {
    name: fullName,
    hostname: name,
    image,
    labels: { [label.cluster]: cluster, [label.role]: 'worker' },
    privilege,
    privateCgroupNamespace: true,
    tty: true,
    network: 'none',
    tmpfs: { '/tmp': 'exec', '/run': 'exec', ...(disk && { '/var': `exec,size=${disk}` }) },
    ...(!disk && { volumes: ['/var'] }),
    mounts: [
      kernelModules,
      ...(shared ? await engineStoreMounts(engine, image, { labels: { [label.cluster]: cluster } }) : []),
      ...sharedLayersMounts(layersVolume),
    ],
  })
  const node = { name, containerId }
  await restartNode(engine, node)
  if (foreign) await execOrThrow(engine, containerId, ['rm', '/usr/local/bin/mayfly-node'])
  return node
}

/** Starts a node that is stopped and waits for its container runtime. */
export async function restartNode(engine: Engine, { name, containerId }: ImageNode): Promise<void> {
  await startContainer(engine, containerId)
  await until(
    `containerd in ${name}`,
    async () => ((await exec(engine, containerId, ['ctr', 'version'])).exitCode === 0 ? true : undefined),
    { timeoutMs: 60_000 },
  )
}

/** What a command prints in a container of an image, started by the node's own runtime as a pod would be. */
export async function runImage(
  engine: Engine,
  { containerId }: ImageNode,
  reference: string,
  ...command: string[]
): Promise<string> {
  const id = `test-${Math.random().toString(36).slice(2)}`
  return execOrThrow(engine, containerId, [
    ...['ctr', '--namespace', 'k8s.io', 'run', '--rm', '--snapshotter', 'overlayfs', reference, id],
    ...command,
  ])
}

/** The node's images by name, as `ctr` lists them, each with its manifest's digest. */
export async function listedImages(
  engine: Engine,
  { containerId }: ImageNode,
): Promise<Record<string, string>> {
  const table = await execOrThrow(engine, containerId, ['ctr', '--namespace', 'k8s.io', 'images', 'ls'])
  const rows = table.split('\n').map((line) => line.split(/\s+/))
  return Object.fromEntries(rows.slice(1).flatMap(([name, , digest]) => (name ? [[name, digest ?? '']] : [])))
}

/** The digests of a listed image: the runtime's own id, which is its configuration's and listed as a name, and its manifest's. */
export function digestsOf(
  listing: Record<string, string>,
  name: string,
): Record<'id' | 'manifest', string | undefined> {
  const manifest = listing[name]
  const id = Object.keys(listing).find((key) => key.startsWith('sha256:') && listing[key] === manifest)
  return { id, manifest }
}

/** All that a node's store holds, for "as it was": images, snapshots, blobs, and what lies about in files. */
export async function storeOf(engine: Engine, { containerId }: ImageNode): Promise<string[]> {
  const ctr = ['ctr', '--namespace', 'k8s.io']
  const found = await Promise.all([
    execOrThrow(engine, containerId, [...ctr, 'images', 'ls', '--quiet']),
    execOrThrow(engine, containerId, [...ctr, 'snapshots', 'ls']),
    execOrThrow(engine, containerId, [...ctr, 'content', 'ls', '--quiet']),
    execOrThrow(engine, containerId, [...ctr, 'leases', 'ls', '--quiet']),
    execOrThrow(engine, containerId, ['ls', '/var/lib/containerd']),
    execOrThrow(engine, containerId, [
      'ls',
      '/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots',
    ]),
  ])
  return found.flatMap((text) => text.split('\n')).sort()
}
