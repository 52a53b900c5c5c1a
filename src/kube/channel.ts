import { text } from 'node:stream/consumers'
import { WebSocket } from 'ws'
import type { Kube } from './connection.ts'
import { noAnswer, refusal } from './status.ts'

/** The code that stands for a connection without a proper end (RFC 6455, 7.1.5). */
const lostConnection = 1006

/** More than this waits in a socket before its source is paused. */
const highWaterMark = 1024 * 1024

/** A WebSocket to a subresource of a pod, whose messages each begin with the number of their channel. */
export interface Channel {
  /** Sends one piece; resolves when there is room for the next, or when the connection is over. */
  send(channel: number, bytes: Uint8Array): Promise<unknown>
  /** Ends one channel towards the pod. */
  end(channel: number): void
  /** Holds what comes from the pod back, and lets it come again. */
  pause(): void
  resume(): void
  close(): void
  /** Resolves when the connection is over, whoever ended it: with whether it was ended properly, and not just lost. */
  closed: Promise<boolean>
}

/**
 * Opens exec or port-forward
 * (https://kubernetes.io/docs/reference/using-api/api-concepts/, subprotocol `v5.channel.k8s.io` of
 * k8s.io/apimachinery/pkg/util/remotecommand, which can end a single channel).
 *
 * @param receive Gets each piece that comes from the pod; the first may come before this function returns
 * @throws MayflyError `KUBE_REQUEST_FAILED` with what the API server said
 */
export async function openChannel(
  kube: Kube,
  path: string,
  {
    protocol,
    query,
    doing,
    signal,
    receive,
  }: {
    protocol: 'v5.channel.k8s.io' | 'v4.channel.k8s.io'
    query: URLSearchParams
    doing: string
    signal?: AbortSignal | undefined
    receive: (channel: number, bytes: Buffer, connection: Channel) => void
  },
): Promise<Channel> {
  const url = new URL(kube.access.server.href.replace(/\/$/, '').replace(/^http/, 'ws') + path)
  url.search = query.toString()
  const { agent: _, ...credentials } = await kube.access.credentials()
  signal?.throwIfAborted()
  const socket = new WebSocket(url, [protocol], { ...credentials, perMessageDeflate: false })
  const onAbort = () => socket.terminate()
  signal?.addEventListener('abort', onAbort, { once: true })
  const closed = new Promise<boolean>((resolve) => {
    socket.once('close', (code) => {
      signal?.removeEventListener('abort', onAbort)
      resolve(code !== lostConnection)
    })
  })
  const connection: Channel = {
    closed,
    send(channel, bytes) {
      // A source must not run on against a connection that takes nothing any more.
      if (socket.readyState !== WebSocket.OPEN) return closed
      const message = Buffer.allocUnsafe(bytes.length + 1)
      message[0] = channel
      message.set(bytes, 1)
      return new Promise<void>((resolve) => {
        const full = socket.bufferedAmount > highWaterMark
        socket.send(message, (error) => {
          if (error) closed.then(() => resolve())
          else if (full) resolve()
        })
        if (!full) resolve()
      })
    },
    end(channel) {
      if (socket.readyState === WebSocket.OPEN) socket.send(Uint8Array.of(255, channel))
    },
    pause: () => socket.pause(),
    resume: () => socket.resume(),
    close: () => socket.close(),
  }
  socket.on('message', (message: Buffer) => {
    const channel = message[0]
    if (channel !== undefined && message.length > 1) receive(channel, message.subarray(1), connection)
  })
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('open', resolve)
      socket.once('unexpected-response', (_request, response) => {
        text(response).then(
          (body) => reject(refusal(doing, response.statusCode ?? 500, body, response.statusMessage)),
          reject,
        )
      })
      socket.once('error', (error) => reject(noAnswer(doing, kube.access.server, error)))
    })
  } catch (thrown) {
    socket.on('error', () => undefined)
    socket.terminate()
    signal?.throwIfAborted()
    throw thrown
  }
  // An error of an open socket is always followed by its close.
  socket.on('error', () => undefined)
  return connection
}
