import { randomUUID } from 'node:crypto'
import { Readable } from 'node:stream'
import { execa } from 'execa'
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  connectEngine,
  type Engine,
  inspectImage,
  listContainers,
  loadImage,
  removeImage,
} from '../../src/engine/index.ts'
import { holdRole, type ImageLoadReport } from '../../src/images/index.ts'
import { type Cluster, createCluster } from '../../src/index.ts'
import { label } from '../../src/reaper/index.ts'
import { inPod, run, webPod } from '../cluster/pods.ts'
import { busyboxLayer, dockerArchive, tar } from './made-images.ts'

const id = randomUUID().slice(0, 8)
const name = `mayfly-test-${id}/app:1`
let engine: Engine
let cluster: Cluster
let imageId: string
let report: ImageLoadReport

beforeAll(async () => {
  engine = await connectEngine()
  const layers = [await busyboxLayer(), await tar([{ path: 'data/greeting', content: 'hello' }])]
  const config = { Labels: { 'io.mayfly.test': id } }
  await loadImage(engine, Readable.from([await dockerArchive([{ names: [name], layers, config }])]))
  imageId = (await inspectImage(engine, name)).Id
  cluster = await createCluster({ nodes: ['control-plane'] })
  report = await cluster.loadImages([name])
})
afterAll(async () => {
  await cluster?.delete()
  await removeImage(engine, imageId, { force: true })
})

/** Runs a pod of the image, which no registry has, and returns what it finds in its file. */
async function greetingIn(pod: string): Promise<string> {
  const { spec, ...others } = webPod(pod)
  const command = ['sleep', '1000000']
  const containers = [{ name: 'app', image: name, imagePullPolicy: 'IfNotPresent', command }]
  await run(cluster.kube, { ...others, spec: { terminationGracePeriodSeconds: 0, containers } })
  return (await inPod(cluster.kube, pod, 'cat', '/data/greeting')).stdout
}

/** Prunes images with a label and without a container, and returns what went. Podman's Docker API keeps named ones. */
async function prunedImages(label: string): Promise<unknown[]> {
  if (engine.kind === 'docker') {
    const { ImagesDeleted } = await engine.docker.pruneImages({
      filters: { dangling: ['false'], label: [label] },
    })
    return ImagesDeleted ?? []
  }
  const { stdout } = await execa`podman image prune --all --force --filter label=${label}`
  return stdout === '' ? [] : stdout.split('\n')
}

test("a pod runs from the engine's own layers", async () => {
  expect(report.images[0]?.nodes).toEqual({ [`${cluster.name}-control-plane`]: 'zero-copy' })
  expect(report.bytes).toBe(0)
  expect(await greetingIn('first')).toBe('hello')
})

test('the engine keeps them through rmi and prune while it does', async () => {
  // What `docker system prune --all` does, for what is of this test only.
  await engine.docker.pruneContainers({ filters: { label: [`${label.cluster}=${cluster.name}`] } })
  expect(await prunedImages(`io.mayfly.test=${id}`)).toEqual([])
  // Podman's force removes an image's containers, too.
  if (engine.kind === 'docker') {
    await removeImage(engine, name, { force: true })
    await expect(removeImage(engine, imageId, { force: true })).rejects.toThrow(/running container/)
  } else await expect(removeImage(engine, imageId)).rejects.toThrow(/in use by a container/)
  expect((await inPod(cluster.kube, 'first', 'cat', '/data/greeting')).stdout).toBe('hello')
  expect(await greetingIn('second')).toBe('hello')
})

test('pods of it run on a node that was restarted', async () => {
  await cluster.node(`${cluster.name}-control-plane`).restart()
  expect(await greetingIn('third')).toBe('hello')
})

test('the engine may remove them once the cluster is gone', async () => {
  await cluster.delete()
  expect(await listContainers(engine, { [label.cluster]: cluster.name, [label.role]: holdRole })).toEqual([])
  expect(await removeImage(engine, imageId)).toBe(true)
})
