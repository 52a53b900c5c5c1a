import { once } from 'node:events'
import { connect, createServer, type Server } from 'node:net'
import { networkInterfaces } from 'node:os'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { connectEngine } from '../../src/engine/index.ts'
import { createCluster, getCluster } from '../../src/index.ts'

/** An address of this machine by which others reach it; the engine there is to this process one of another machine. */
const address = Object.values(networkInterfaces())
  .flat()
  .find((one) => one && one.family === 'IPv4' && !one.internal)?.address

let server: Server

beforeAll(async () => {
  const { place } = await connectEngine()
  const socket = place.address.replace(/^unix:\/\//, '')
  server = createServer({ allowHalfOpen: true }, (client) => {
    const engine = connect({ path: socket, allowHalfOpen: true })
    client.pipe(engine).pipe(client)
    for (const end of [client, engine]) end.on('error', () => [client, engine].map((one) => one.destroy()))
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
