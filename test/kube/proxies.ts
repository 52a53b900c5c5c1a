import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { pipeline } from 'node:stream/promises'
import { parse, stringify } from 'yaml'
import { connectKube, type Kube } from '../../src/kube/index.ts'

/** The same cluster through a TCP proxy that counts connections and can cut them all. */
export async function throughProxy(kube: Kube) {
  const sockets = new Set<Socket>()
  let connections = 0
  let isCut = false
  const server = createServer((client) => {
    connections++
    if (isCut) return client.destroy()
    const upstream = connect(Number(kube.access.server.port), kube.access.server.hostname)
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(one)
      one.pipe(other)
      one.on('error', () => other.destroy())
      one.on('close', () => sockets.delete(one) && other.destroy())
    }
    return undefined
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const cut = () => {
    isCut = true
    for (const socket of sockets) socket.destroy()
  }
  return {
    kube: at(kube, `https://127.0.0.1:${(server.address() as AddressInfo).port}`),
    get connections() {
      return connections
    },
    cut,
    mend() {
      isCut = false
    },
    async [Symbol.asyncDispose]() {
      cut()
      server.close()
      await once(server, 'close')
    },
  }
}

/** The same cluster through an HTTP proxy whose first watch starts at a resource version that the server has long forgotten. */
export async function withExpiredWatch(kube: Kube) {
  const paths: string[] = []
  const server = createHttpServer(async (request, response) => {
    const url = new URL(request.url ?? '', 'http://proxy')
    if (url.searchParams.has('watch') && !paths.some((path) => path.includes('watch=')))
      url.searchParams.set('resourceVersion', '1')
    const path = url.pathname + url.search
    paths.push(path)
    const accept = request.headers.accept ?? ''
    try {
      const answer = await kube.open(request.method ?? 'GET', path, { headers: { accept } })
      response.writeHead(answer.statusCode ?? 500, answer.headers)
      await pipeline(answer, response)
    } catch {
      response.destroy()
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    kube: at(kube, `http://127.0.0.1:${(server.address() as AddressInfo).port}`),
    paths,
    async [Symbol.asyncDispose]() {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
}

function at(kube: Kube, server: string): Kube {
  const kubeconfig = parse(kube.kubeconfig)
  for (const { cluster } of kubeconfig.clusters) cluster.server = server
  return connectKube(stringify(kubeconfig))
}
