/**
 * A node image of kind's. With a registry in reach, the same tests run on a published one:
 *
 *     docker pull kindest/node:v1.37.0
 *     MAYFLY_KINDEST_IMAGE=kindest/node:v1.37.0 npx vitest run --project e2e test/kindest
 */
import { randomUUID } from 'node:crypto'
import { mkdir, mkdtemp, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  buildImageFrom,
  connectEngine,
  type Engine,
  listVolumes,
  loadImage,
  removeImage,
} from '../../src/engine/index.ts'
import { type Cluster, createCluster } from '../../src/index.ts'
import { list } from '../../src/kube/index.ts'
import { cacheRoot } from '../../src/node-image/cache.ts'
import { label } from '../../src/reaper/index.ts'
import { inPod, run, webPod } from '../cluster/pods.ts'
import { nothingLeft } from '../faults/leftovers.ts'
import { busyboxLayer, dockerArchive } from '../images/made-images.ts'
import { nodeImage } from '../node-image/node.ts'
import { buildKindestImage } from './image.ts'

const id = randomUUID().slice(0, 8)
const published = process.env['MAYFLY_KINDEST_IMAGE']
const image = published ?? `mayfly-test/kindest:${id}`
const appImage = `mayfly-test/kindest-app:${id}`
let engine: Engine
let cluster: Cluster
let cache: string

beforeAll(async () => {
  engine = await connectEngine()
  // What is baked here is of no use to anybody else; what is compiled is.
  cache = await mkdtemp(join(tmpdir(), 'mayfly-kindest-'))
  await mkdir(join(cacheRoot(), 'node-image'), { recursive: true })
  await symlink(join(cacheRoot(), 'node-image'), join(cache, 'node-image'))
  process.env['MAYFLY_CACHE_DIR'] = cache
  const archive = await dockerArchive([{ names: [appImage], layers: [await busyboxLayer()] }])
  await loadImage(engine, Readable.from([archive]))
  if (!published) await buildKindestImage(engine, image, process.env['MAYFLY_NODE_IMAGE'] ?? nodeImage)
  cluster = await createCluster({ image, nodes: ['control-plane', 'worker'] })
})
afterAll(async () => {
  await cluster?.delete()
  const adopted = cluster?.spec.nodes.map((node) => node.image) ?? []
  const made = [appImage, ...(published ? [] : [image, ...adopted])]
  for (const name of new Set(made)) await removeImage(engine, name, { force: true })
  await rm(cache, { recursive: true })
})

const names = () => cluster.nodes.map(({ name }) => name)

/** A pod that serves its own name, from an image that was loaded. */
function appPod(name: string, nodeName: string | undefined): ReturnType<typeof webPod> {
  const { spec, ...pod } = webPod(name, nodeName)
  const serve = 'busybox mkdir /www; busybox hostname >/www/index.html; exec busybox httpd -f -p 8080 -h /www'
  const [container] = spec.containers
  return {
    ...pod,
    spec: { ...spec, containers: [{ ...container, image: appImage, command: ['sh', '-c', serve] }] },
  }
}

/** kube-proxy learns of a Service a moment after it is made. */
const soon = { timeout: 20_000 }

const ask = async (pod: string, url: string) =>
  (await inPod(cluster.kube, pod, 'busybox', 'timeout', '5', 'busybox', 'wget', '-qO-', url)).stdout

test('every node runs the Kubernetes and the system pods of the image', async () => {
  const [node] = cluster.nodes
  const version = String(await node?.readFile('/kind/version')).trim()
  const objects = await list(cluster.kube, { apiVersion: 'v1', kind: 'Node' })
  expect(objects.map(({ status }) => status.nodeInfo.kubeletVersion)).toEqual([version, version])
  const pods = await list(cluster.kube, { apiVersion: 'v1', kind: 'Pod' })
  const manifest = String(await node?.readFile('/kind/manifests/default-cni.yaml'))
  const [, ofNetwork] = /^\s*image: (\S+)$/m.exec(manifest) ?? []
  const images = pods.flatMap(({ spec }) => spec.containers.map((one: { image: string }) => one.image))
  expect(images.filter((one) => one === ofNetwork)).toHaveLength(2)
  expect(images).toContain(`registry.k8s.io/kube-apiserver:${version}`)
})

test('core images were unpacked once and for all, but for those that delete files', async () => {
  const sh = async (script: string) => {
    const { stdout } = await cluster
      .node(names()[1] ?? '')
      .exec(['sh', '-c', `cd /var/lib/containerd; ${script}`])
    return stdout.trim().split('\n')
  }
  const links = await sh('readlink io.containerd.snapshotter.v1.overlayfs/snapshots/*/fs')
  expect(links.filter((path) => path.startsWith('/usr/share/mayfly/layers/')).length).toBeGreaterThan(5)
  if (published) return
  // Of CoreDNS: what is deleted below, and the program. Its other layer is in other images as well.
  expect(await sh('find io.containerd.content.v1.content -size +1M')).toHaveLength(1)
})

test('images load, and pods on both nodes answer by name and Service', async () => {
  await cluster.loadImages([appImage])
  await run(cluster.kube, appPod('one', names()[0]), appPod('two', names()[1]), {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'web', namespace: 'default' },
    spec: { selector: { app: 'two' }, ports: [{ port: 80, targetPort: 8080 }] },
  })
  await expect.poll(() => ask('one', 'http://web.default.svc.cluster.local'), soon).toBe('two')
  await expect.poll(() => ask('two', 'http://web'), soon).toBe('two')
})

test('volumes of the default StorageClass work', async () => {
  const [claim, pod] = [{ name: 'data', namespace: 'default' }, appPod('writer', names()[1])]
  const [container] = pod['spec'].containers
  container.volumeMounts = [{ name: 'data', mountPath: '/data' }]
  pod['spec'].volumes = [{ name: 'data', persistentVolumeClaim: { claimName: claim.name } }]
  // Pods with a node of choice do not wake a volume that waits for its first consumer.
  pod['spec'].nodeSelector = { 'kubernetes.io/hostname': names()[1] }
  delete pod['spec'].nodeName
  await run(
    cluster.kube,
    {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: claim,
      spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Mi' } } },
    },
    pod,
  )
  expect(
    (await inPod(cluster.kube, 'writer', 'sh', '-c', 'echo kept >/data/file && cat /data/file')).stdout,
  ).toBe('kept')
})

test('it comes back after a stop', async () => {
  await cluster.stop({ graceSeconds: 1 })
  await cluster.start()
  await expect.poll(() => ask('one', 'http://web'), soon).toBe('two')
})

test('nothing is left of it', async () => {
  const volumes = (await listVolumes(engine, {})).map(({ name }) => name)
  await cluster.delete()
  await nothingLeft({ [label.cluster]: cluster.name })
  expect((await listVolumes(engine, {})).length).toBeLessThan(volumes.length)
})

test('the next cluster is neither adopted nor baked', async () => {
  await using next = await createCluster({ image, nodes: ['control-plane'] })
  expect(next.timings.map(({ step }) => step)).toEqual([
    'Check the host',
    'Prepare keys and network',
    'Start the node',
    'Start the control plane',
    'Wait until the cluster is usable',
  ])
})

test('one of a Kubernetes that is too old is refused', async () => {
  const old = `mayfly-test/kindest-old:${id}`
  await buildImageFrom(
    engine,
    [
      { path: '/Dockerfile', content: 'FROM scratch\nCOPY version /kind/version' },
      { path: '/version', content: 'v1.30.13' },
    ],
    old,
  )
  try {
    await expect(createCluster({ image: old, progress: 'silent' })).rejects.toMatchObject({
      code: 'NODE_IMAGE_UNFIT',
      message: expect.stringContaining('has Kubernetes v1.30.13, and v1.31 is the oldest that mayfly boots'),
    })
  } finally {
    await removeImage(engine, old)
  }
})
