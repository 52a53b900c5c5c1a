import { createServer, type Server, type Socket } from 'node:net'
import type { PoolLease } from './pool.ts'
import { failureOf, firstLine, type LeaseAnswer, type LeaseRequest, lineOf, readRequest } from './protocol.ts'

/** Finds a cluster for a worker. The signal fires when the worker is gone. */
export type Lend = (request: LeaseRequest, signal: AbortSignal) => Promise<PoolLease>

/**
 * Listens for workers that ask for clusters.
 *
 * @param address Path of a Unix socket, in a folder that only this user can enter, or name of a pipe
 * @returns What ends it: no worker is answered any more
 */
export async function serveLeases(address: string, lend: Lend): Promise<() => Promise<void>> {
  const connections = new Set<Socket>()
  const server = createServer((socket) => {
    connections.add(socket)
    socket.once('close', () => connections.delete(socket))
    void answer(socket, lend)
  })
  await listening(server, address)
  // Tests may end without anybody's having asked.
  server.unref()
  return async () => {
    for (const socket of connections) socket.destroy()
    await new Promise<void>((resolve) => server.close(() => resolve()))
  }
}

function listening(server: Server, address: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(address, resolve)
  })
}

async function answer(socket: Socket, lend: Lend): Promise<void> {
  const gone = new AbortController()
  socket.once('close', () => gone.abort())
  // Whatever breaks a connection, it is closed afterwards.
  socket.on('error', () => undefined)
  const say = (message: LeaseAnswer) => void socket.write(lineOf(message))
  try {
    const request = readRequest(await firstLine(socket))
    const { cluster, release } = await lend(request, gone.signal)
    if (gone.signal.aborted) return release()
    gone.signal.addEventListener('abort', release, { once: true })
    say({ type: 'cluster', cluster })
  } catch (thrown) {
    if (gone.signal.aborted) return
    say(failureOf(thrown))
    socket.end()
  }
}
