import { text } from 'node:stream/consumers'
import { WebSocket } from 'ws'
import type { Kube } from './connection.ts'
import { noAnswer, refusal } from './status.ts'

/** More than this waits in a socket before its source is paused. */
const highWaterMark = 1024 * 1024

/** A WebSocket to a subresource of a pod, whose messages each begin with the number of their channel. */
export interface Channel {
  /** Sends one piece; resolves when there is room for the next. */
  send(channel: number, bytes: Uint8Array): Promise<void>
  /** Ends one channel towards the pod. */
  end(channel: number): void
  /** Holds what comes from the pod back, and lets it come again. */
  pause(): void
  resume(): void
  close(): void
  /** Resolves when the connection is over, whoever ended it. */
  closed: Promise<void>
}

/**
 * Opens exec or port-forward
 * (https://kubernetes.io/docs/reference/using-api/api-concepts/, subprotocol `v5.channel.k8s.io` of
 * k8s.io/apimachinery/pkg/util/remotecommand, which can end a single channel).
 *
 * @param receive Gets each piece that comes from the pod
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
    receive: (channel: number, bytes: Buffer) => void
  },
): Promise<Channel> {
  signal?.throwIfAborted()
  const url = new URL(kube.access.server.href.replace(/\/$/, '').replace(/^http/, 'ws') + path)
  url.search = query.toString()
  const { agent: _, ...credentials } = await kube.access.credentials()
  const socket = new WebSocket(url, [protocol], { ...credentials, perMessageDeflate: false })
  const onAbort = () => socket.terminate()
  signal?.addEventListener('abort', onAbort, { once: true })
  const closed = new Promise<void>((resolve) => {
    socket.once('close', () => {
      signal?.removeEventListener('abort', onAbort)
      resolve()
    })
  })
  socket.on('message', (message: Buffer) => {
    const channel = message[0]
    if (channel !== undefined && message.length > 1) receive(channel, message.subarray(1))
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
  return {
    closed,
    send(channel, bytes) {
      const message = Buffer.allocUnsafe(bytes.length + 1)
      message[0] = channel
      message.set(bytes, 1)
      return new Promise((resolve) => {
        const full = socket.bufferedAmount > highWaterMark
        // A failing send closes the socket, which is what the other end of it is told by.
        socket.send(message, () => full && resolve())
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
}
