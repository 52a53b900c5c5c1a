import { randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { networkInterfaces } from 'node:os'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import {
  connectEngine,
  createContainer,
  putFiles,
  readFile,
  removeContainer,
} from '../../src/engine/index.ts'
import { createCluster, getCluster } from '../../src/index.ts'
import { ensureTinyImage, tinyImage } from './tiny-image.ts'

/** An address of this machine by which others reach it; the engine there is to this process one of another machine. */
const address = Object.values(networkInterfaces())
  .flat()
  .find((one) => one && one.family === 'IPv4' && !one.internal)?.address

let server: Server
let cut = false
let cutOnce = false
const clients = new Set<Socket>()

beforeAll(async () => {
  const { place } = await connectEngine()
  const socket = place.address.replace(/^unix:\/\//, '')
  server = createServer({ allowHalfOpen: true }, (client) => {
    if (cut) return void client.destroy()
    clients.add(client)
    const engine = connect({ path: socket, allowHalfOpen: true })
    client.pipe(engine).pipe(client)
    const destroyBoth = () => [client, engine].map((one) => one.destroy())
    client.on('data', () => {
      if (cutOnce) destroyBoth()
      cutOnce = false
    })
    for (const end of [client, engine]) end.on('error', destroyBoth)
  }).listen(0, address)
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  vi.stubEnv('DOCKER_HOST', `tcp://${address}:${port}`)
})

afterAll(() => {
  vi.unstubAllEnvs()
  server.close()
})

test('its own loopback address is refused for the API server, with the setting that helps', async () => {
  await expect(createCluster({ nodes: ['control-plane'] })).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringContaining("networking: { apiServerAddress: '0.0.0.0' }"),
  })
})

test('its host leads to the API server, by the name that stands in the certificate', async () => {
  await using cluster = await createCluster({
    nodes: ['control-plane'],
    networking: { apiServerAddress: '0.0.0.0' },
  })
  expect(cluster.kubeconfig).toContain(`server: https://${address}:`)
  const found = await getCluster(cluster.name)
  expect(await found.kube.request('GET', '/readyz')).toBe('ok')
})

test('files arrive though the engine closes the connection in the middle once', async () => {
  const engine = await connectEngine()
  await ensureTinyImage(engine)
  const name = `mayfly-test-${randomUUID().slice(0, 8)}`
  await createContainer(engine, { name, image: tinyImage, labels: { 'io.mayfly.test': name } })
  try {
    const content = randomBytes(2 ** 20)
    const files = [{ path: '/late/arrival', content }]
    cutOnce = true
    await putFiles(engine, name, files)
    expect(cutOnce).toBe(false)
    expect(await readFile(engine, name, '/late/arrival')).toEqual(content)
    cut = true
    await expect(putFiles(engine, name, files)).rejects.toMatchObject({ code: 'ENGINE_LOST' })
  } finally {
    cut = false
    await removeContainer(engine, name)
  }
})

test('a deletion that failed can be asked for again', async () => {
  const cluster = await createCluster({
    controlPlaneOnly: true,
    networking: { apiServerAddress: '0.0.0.0' },
  })
  cut = true
  for (const client of clients) client.destroy()
  await expect(cluster.delete()).rejects.toMatchObject({ code: 'ENGINE_LOST' })
  cut = false
  await cluster.delete()
  await expect(getCluster(cluster.name)).rejects.toMatchObject({ code: 'CLUSTER_NOT_FOUND' })
})
