import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { MayflyError, messageOf } from '../errors.ts'
import { deadline, type WaitLimits, waitError } from '../wait.ts'
import { openChannel } from './channel.ts'
import type { Kube } from './connection.ts'
import { get } from './crud.ts'
import { collectionPath, locate } from './discovery.ts'
import { conditionOf, type KubeObject, type ObjectRef } from './objects.ts'
import { assertPodsRun } from './pods-run.ts'
import { watchList } from './watch.ts'

/**
 * A local port that leads to a port of a pod. It ends with `await using`, {@link PortForward.close} or the signal.
 *
 * @public
 */
export interface PortForward {
  /** On 127.0.0.1. */
  localPort: number
  /** Ends it and every connection over it. */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/**
 * How a port is forwarded.
 *
 * @public
 */
export interface PortForwardOptions extends Partial<WaitLimits> {
  /** For a reference that names none; default: the kubeconfig's own. */
  namespace?: string | undefined
  /** How long to wait for a pod that is ready; default 30 000. */
  timeoutMs?: number
  /** Told why a connection could not be made; its client only sees it closed. */
  onTrouble?: (trouble: unknown) => void
}

/** A client that has sent its last byte may still wait for an answer, but not forever: the pod cannot be told of it. */
const halfClosedMs = 10_000

/**
 * Opens a port on 127.0.0.1, chosen by the system, that leads to a port of a pod, or of a ready pod behind a Service, Deployment or any other
 * object with a pod selector. The pod is looked for anew at each connection, so that a pod may be replaced meanwhile.
 *
 * @param port A number, or the name of a port of the Service or container
 * @throws MayflyError `WAIT_TIMED_OUT` when no pod gets ready, `KUBE_REQUEST_FAILED` when there is no such object or port
 * @public
 */
export async function portForward(
  kube: Kube,
  target: ObjectRef,
  port: number | string,
  { namespace, timeoutMs = 30_000, signal, onTrouble }: PortForwardOptions = {},
): Promise<PortForward> {
  assertPodsRun(kube, 'forward a port')
  const find = await backendsOf(kube, target, port, namespace, signal)
  await find({ timeoutMs, signal })

  const sockets = new Set<Socket>()
  const ended = new AbortController()
  const limit = signal ? AbortSignal.any([signal, ended.signal]) : ended.signal
  // Half-open, because a client that ends its side may still wait for the answer.
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    socket.on('error', () => socket.destroy())
    connect(kube, socket, () => find({ timeoutMs, signal: limit }), limit).catch((trouble: unknown) => {
      if (!limit.aborted) onTrouble?.(trouble)
      socket.resetAndDestroy()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const close = async () => {
    if (!server.listening) return
    const closed = once(server, 'close')
    server.close()
    ended.abort()
    for (const socket of sockets) socket.destroy()
    await closed
  }
  signal?.addEventListener('abort', close, { once: true })
  return {
    localPort: typeof address === 'object' && address ? address.port : 0,
    close,
    [Symbol.asyncDispose]: close,
  }
}

interface Backend {
  /** Path of the pod. */
  path: string
  label: string
  port: number
}

type FindBackend = (limits: WaitLimits) => Promise<Backend>

/** How to find a pod that serves a port of the target, which may be asked again and again. */
async function backendsOf(
  kube: Kube,
  target: ObjectRef,
  port: number | string,
  namespace: string | undefined,
  signal: AbortSignal | undefined,
): Promise<FindBackend> {
  const located = await locate(kube, target, namespace, signal)
  const object = await get(kube, target, { namespace, signal })
  const pods = collectionPath({ apiVersion: 'v1', plural: 'pods', namespaced: true }, located.namespace)
  const backend = (pod: string, number: number) => ({
    path: `${pods}/${pod}`,
    label: `Pod ${located.namespace}/${pod}`,
    port: number,
  })

  if (object.kind === 'Service') {
    const servicePort = servicePortOf(object, port, located.label)
    const slices = collectionPath(
      { apiVersion: 'discovery.k8s.io/v1', plural: 'endpointslices', namespaced: true },
      located.namespace,
    )
    return (limits) =>
      firstOf(
        kube,
        slices,
        { labelSelector: `kubernetes.io/service-name=${located.name}` },
        `${located.label} to have a ready endpoint`,
        limits,
        (slice) => {
          const endpoint = (slice as unknown as EndpointSlice).endpoints?.find(
            ({ conditions, targetRef }) => conditions?.ready !== false && targetRef?.kind === 'Pod',
          )
          const number = (slice as unknown as EndpointSlice).ports?.find(
            ({ name = '' }) => name === (servicePort.name ?? ''),
          )?.port
          return endpoint?.targetRef && number ? backend(endpoint.targetRef.name, number) : undefined
        },
      )
  }
  const selection =
    object.kind === 'Pod'
      ? { fieldSelector: `metadata.name=${located.name}` }
      : { labelSelector: selectorOf(object, located.label) }
  return (limits) =>
    firstOf(kube, pods, selection, `${located.label} to have a ready pod`, limits, (pod) => {
      if (conditionOf(pod, 'Ready')?.status !== 'True' || pod.metadata.deletionTimestamp) return undefined
      return backend(pod.metadata.name ?? '', containerPortOf(pod, port, located.label))
    })
}

interface EndpointSlice {
  endpoints?: { conditions?: { ready?: boolean }; targetRef?: { kind: string; name: string } }[]
  ports?: { name?: string; port?: number }[]
}

function servicePortOf({ spec }: KubeObject, port: number | string, label: string): { name?: string } {
  const ports: { name?: string; port: number }[] = spec?.ports ?? []
  const found = ports.find((one) => one.port === port || one.name === port)
  if (found) return found
  throw noSuchPort(
    label,
    port,
    ports.map((one) => [one.port, one.name].filter(Boolean).join(' ')),
  )
}

function containerPortOf({ spec }: KubeObject, port: number | string, label: string): number {
  // A container may listen on ports that its spec does not mention.
  if (typeof port === 'number') return port
  const ports: { name?: string; containerPort: number }[] = [
    ...(spec?.containers ?? []),
    ...(spec?.initContainers ?? []),
  ].flatMap((container) => container.ports ?? [])
  const found = ports.find(({ name }) => name === port)
  if (found) return found.containerPort
  throw noSuchPort(
    label,
    port,
    ports.map(({ name, containerPort }) => [containerPort, name].filter(Boolean).join(' ')),
  )
}

function noSuchPort(label: string, port: number | string, ports: string[]): MayflyError {
  return new MayflyError(
    'KUBE_REQUEST_FAILED',
    `${label} has no port ${port}; its ports: ${ports.join(', ') || 'none'}`,
  )
}

function selectorOf({ spec }: KubeObject, label: string): string {
  const labels: Record<string, string> | undefined = spec?.selector?.matchLabels ?? spec?.selector
  if (labels && Object.values(labels).every((value) => typeof value === 'string')) {
    return Object.entries(labels)
      .map(([key, value]) => `${key}=${value}`)
      .join(',')
  }
  throw new MayflyError('KUBE_REQUEST_FAILED', `${label} has no pods to forward a port to`, {
    hint: 'Name a Pod, a Service, or an object with spec.selector.matchLabels',
  })
}

async function firstOf(
  kube: Kube,
  path: string,
  selection: { labelSelector?: string; fieldSelector?: string },
  what: string,
  limits: WaitLimits,
  pick: (object: KubeObject) => Backend | undefined,
): Promise<Backend> {
  let lastSeen = 'nothing'
  const onTrouble = (trouble: unknown) => {
    lastSeen = messageOf(trouble)
  }
  for await (const { items } of watchList(
    kube,
    { path },
    { ...selection, signal: deadline(limits), onTrouble },
  )) {
    for (const object of items.values()) {
      const found = pick(object)
      if (found) return found
    }
    lastSeen = `${items.size} found, none ready`
  }
  throw waitError(what, lastSeen, limits)
}

/**
 * Carries one connection. Each has a WebSocket of its own, with channel 0 for bytes and channel 1 for an error; each of the two begins with the
 * port's number in two bytes (k8s.io/kubelet/pkg/cri/streaming/portforward/websocket.go).
 */
async function connect(
  kube: Kube,
  socket: Socket,
  find: () => Promise<Backend>,
  signal: AbortSignal,
): Promise<void> {
  const { path, label, port } = await find()
  const doing = `forward to port ${port} of ${label}`
  const portSeen = [false, false]
  let refused = ''
  const channel = await openChannel(kube, `${path}/portforward`, {
    protocol: 'v4.channel.k8s.io',
    query: new URLSearchParams({ ports: String(port) }),
    doing,
    signal,
    receive(number, bytes, connection) {
      if (!portSeen[number]) {
        portSeen[number] = true
        bytes = bytes.subarray(2)
      }
      if (bytes.length === 0) return
      if (number === 1) {
        refused += bytes.toString()
        connection.close()
      } else if (!socket.write(bytes)) {
        connection.pause()
        socket.once('drain', () => connection.resume())
      }
    },
  })
  socket.once('close', () => channel.close())
  socket.on('data', (bytes) => {
    socket.pause()
    channel.send(0, bytes).then(() => socket.resume())
  })
  socket.once('end', () => socket.setTimeout(halfClosedMs, () => channel.close()))
  socket.resume()
  const endedProperly = await channel.closed
  if (refused) throw new MayflyError('KUBE_REQUEST_FAILED', `Could not ${doing}: ${refused.trim()}`)
  // A pod that refuses what was sent already may have its reason lost on the way.
  if (!endedProperly && !socket.destroyed) {
    throw new MayflyError(
      'KUBE_REQUEST_FAILED',
      `Could not ${doing}: the connection was lost, or refused by the pod`,
    )
  }
  socket.end()
  // All that the pod sent is on its way; a client that keeps its side open must not hold the connection.
  socket.setTimeout(halfClosedMs, () => socket.destroy())
}
