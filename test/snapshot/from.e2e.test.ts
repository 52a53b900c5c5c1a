import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { gunzipSync, gzipSync } from 'node:zlib'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { clusterSpecOf } from '../../src/cluster/index.ts'
import {
  buildImageFrom,
  connectEngine,
  type Engine,
  listContainers,
  loadImage,
  removeImage,
} from '../../src/engine/index.ts'
import { type Cluster, createCluster, type Snapshot } from '../../src/index.ts'
import { applyAll, get, type KubeObject, waitFor } from '../../src/kube/index.ts'
import { kubernetesVersions } from '../../src/node-image/index.ts'
import { busyboxLayer, dockerArchive } from '../images/made-images.ts'
import { faults, heldCustomResource, stubbornDeployment } from './suite.ts'

const limits = { timeoutMs: 60_000 }
const deployment = stubbornDeployment('web', 'shop', 2)
const token: KubeObject = {
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: {
    name: 'token',
    namespace: 'shop',
    annotations: { 'kubernetes.io/service-account.name': 'default' },
  },
  type: 'kubernetes.io/service-account-token',
}
const image = `mayfly-test/from:${process.pid}`
let engine: Engine
let folder: string
let file: string
let original: Cluster
let installed: Snapshot

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mayfly-test-'))
  file = join(folder, 'shop.mayfly')
  engine = await connectEngine()
  const archive = await dockerArchive([{ names: [image], layers: [await busyboxLayer()] }])
  await loadImage(engine, Readable.from([archive]))
  original = await createCluster({ nodes: ['control-plane', 'worker'] })
  await original.loadImages([image])
  // A claim and the pod that uses it, in namespace shop.
  await faults['leaves volumes with data']?.(original)
  await applyAll(
    original.kube,
    [...heldCustomResource('widgets', 'Widget', 'shop'), deployment, token],
    limits,
  )
  await waitFor(original.kube, deployment, { condition: 'Available' }, limits)
  await waitFor(original.kube, token, { jsonPath: '{.data.token}' }, limits)
  installed = await original.snapshot('installed')
  await original.saveSnapshot(file, installed)
})
afterAll(async () => {
  await original?.delete()
  await removeImage(engine, image)
  await rm(folder, { recursive: true, force: true })
})

/** A copy of the file in which a text stands for another one of the same length. */
async function altered(from: string, to: string): Promise<string> {
  const archive = gunzipSync(await readFile(file)).toString('latin1')
  expect(archive).toContain(from)
  expect(to, from).toHaveLength(from.length)
  const copy = join(folder, `altered-${to.replaceAll(/\W/g, '')}.mayfly`)
  await writeFile(copy, gzipSync(Buffer.from(archive.replaceAll(from, to), 'latin1')))
  return copy
}

/** Whether each node has the image that was loaded onto the first cluster. */
async function hasImage({ nodes }: Cluster): Promise<boolean[]> {
  const lists = await Promise.all(nodes.map((node) => node.exec(['crictl', 'images'])))
  return lists.map(({ stdout }) => stdout.includes('mayfly-test/from'))
}

test('a cluster made of a file has what the other had, and an identity of its own', async () => {
  await using cluster = await createCluster({ from: file, nodes: ['control-plane', 'worker'] })
  const { kube } = cluster
  expect(await hasImage(cluster)).toEqual([true, true])
  await waitFor(kube, deployment, { condition: 'Available' }, limits)
  expect(await get(kube, heldCustomResource('widgets', 'Widget', 'shop')[1] as KubeObject)).toMatchObject({
    metadata: { name: 'held', finalizers: ['suite.example/nobody-removes-this'] },
  })
  // The claim gets a volume of its own, and the pod without a controller runs again.
  await waitFor(
    kube,
    { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'writer', namespace: 'shop' } } as KubeObject,
    { condition: 'Ready' },
    limits,
  )

  const both = [original, cluster]
  const uids = await Promise.all(
    both.map(({ kube }) => get(kube, { apiVersion: 'v1', kind: 'Namespace', name: 'kube-system' })),
  )
  expect(uids[0]?.metadata.uid).not.toBe(uids[1]?.metadata.uid)
  await waitFor(kube, token, { jsonPath: '{.data.token}' }, limits)
  const tokens = await Promise.all(both.map(({ kube }) => get(kube, token)))
  expect(tokens[0]?.['data'].token).not.toBe(tokens[1]?.['data'].token)
  expect(cluster.kubeconfig).not.toBe(original.kubeconfig)
})

test('what is planned for clusters of a file knows the nodes that they will have', async () => {
  const rolesOf = async (from: Snapshot | string) =>
    (await clusterSpecOf({ from })).nodes.map(({ role }) => role)
  expect(await rolesOf(file)).toEqual(['control-plane', 'worker'])
  expect(await rolesOf(installed)).toEqual(['control-plane', 'worker'])
})

test('the file has no key', async () => {
  const key = String(await original.nodes[0]?.readFile('/etc/kubernetes/pki/ca.key'))
  expect(key).toContain('PRIVATE KEY')
  const archive = gunzipSync(await readFile(file)).toString('latin1')
  expect(archive).not.toContain('PRIVATE KEY')
  expect(archive).not.toContain(Buffer.from(key).toString('base64').slice(40, 80))
})

test('a file of another version of Kubernetes than the node image is refused before anything is made', async () => {
  const older = `mayfly-test/older:${process.pid}`
  const nodeImage = process.env['MAYFLY_NODE_IMAGE'] || `mayfly/node:${kubernetesVersions[0]}`
  const dockerfile = `FROM ${nodeImage}\nLABEL io.mayfly.kubernetes=v1.0.0\n`
  await buildImageFrom(engine, [{ path: '/Dockerfile', content: dockerfile }], older)
  try {
    await expect(createCluster({ from: file, image: older, name: 'older' })).rejects.toMatchObject({
      code: 'SNAPSHOT_UNFIT',
      message: expect.stringContaining(`of Kubernetes ${kubernetesVersions[0]}, the node image of v1.0.0`),
    })
    expect(await listContainers(engine, { 'io.mayfly.cluster': 'older' })).toEqual([])
  } finally {
    await removeImage(engine, older)
  }
})

test('a file that does not fit is refused before anything is made', async () => {
  await expect(createCluster({ from: join(folder, 'nowhere') })).rejects.toMatchObject({
    code: 'SNAPSHOT_UNFIT',
  })
  await expect(createCluster({ from: await altered('"version":1', '"version":7') })).rejects.toMatchObject({
    code: 'SNAPSHOT_UNFIT',
    message: expect.stringContaining('another version of mayfly'),
  })
  await expect(createCluster({ from: await altered('"version":1', '"version":0') })).rejects.toMatchObject({
    code: 'SNAPSHOT_UNFIT',
    message: expect.stringContaining('another version of mayfly'),
  })
  await expect(
    createCluster({ from: await altered('"architecture":"a', '"architecture":"z') }),
  ).rejects.toMatchObject({ code: 'SNAPSHOT_UNFIT', message: expect.stringContaining('was saved on z') })
  await expect(
    createCluster({ from: file, networking: { serviceSubnet: '10.200.0.0/16' } }),
  ).rejects.toMatchObject({
    code: 'SNAPSHOT_UNFIT',
    hint: expect.stringContaining('they come with the snapshot'),
  })
  await expect(
    createCluster({ from: await altered('"kubernetes": "v', '"kubernetes": "w') }),
  ).rejects.toMatchObject({
    code: 'SNAPSHOT_UNFIT',
    message: expect.stringContaining('was changed since it was saved: snapshot.json'),
  })
  const bytes = await readFile(file)
  const cut = join(folder, 'cut.mayfly')
  await writeFile(cut, bytes.subarray(0, bytes.length / 2))
  await expect(createCluster({ from: cut })).rejects.toMatchObject({ code: 'SNAPSHOT_UNFIT' })
})

test('a cluster made of a snapshot of one that runs has its node image and its images', async () => {
  await using same = await createCluster({ from: installed })
  expect(await hasImage(same)).toEqual([true, true])
  expect(same.spec.nodes.map(({ image }) => image)).toEqual(original.spec.nodes.map(({ image }) => image))
  await waitFor(same.kube, deployment, { condition: 'Available' }, limits)
})
