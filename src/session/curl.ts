import { request as httpRequest, type IncomingMessage, type OutgoingHttpHeaders } from 'node:http'
import { isIP } from 'node:net'
import { Duplex, PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import { connect as connectTls } from 'node:tls'
import { MayflyError, messageOf } from '../errors.ts'
import { applyAll, assertPodsRun, execInPod, type Kube, waitFor } from '../kube/index.ts'
import { until, type WaitLimits } from '../wait.ts'

/**
 * How a request is made from inside the cluster.
 *
 * @public
 */
export interface CurlOptions {
  /** Default `GET`. */
  method?: string
  headers?: OutgoingHttpHeaders
  /** Text or bytes; anything else is sent as JSON. */
  body?: unknown
  /** For `https:`: certificates to trust, in PEM. Without them any certificate is accepted. */
  ca?: string
  /** Until there must be an answer, in milliseconds; default 10 000. */
  timeoutMs?: number
  /** Tries again while no connection can be made, as happens until a new Service is known everywhere; default true. */
  retry?: boolean
  signal?: AbortSignal | undefined
}

/**
 * The answer to a request, whatever its status.
 *
 * @public
 */
export interface CurlResponse {
  status: number
  /** By their names in lower case. */
  headers: Record<string, string | string[] | undefined>
  body: string
}

/** The pod from which requests are made. Its image is on every node. */
const podName = 'mayfly-curl'
const image = 'docker.io/mayfly/local-path-helper:v1'

/**
 * Makes an HTTP request from a pod of the namespace: its names, routes and network policies hold. The pod only connects; HTTP
 * and TLS are spoken here, over its standard input and output.
 *
 * @throws MayflyError `WAIT_TIMED_OUT`, or `EXEC_FAILED` with `retry: false`, with the reason why there was no answer
 */
export async function curl(
  kube: Kube,
  namespace: string,
  url: string | URL,
  { retry = true, ...options }: CurlOptions,
  limits: WaitLimits,
): Promise<CurlResponse> {
  const target = new URL(url)
  assertPodsRun(kube, `ask for ${target.href} from a pod`)
  if (target.protocol !== 'http:' && target.protocol !== 'https:') {
    throw new MayflyError('CONFIG_INVALID', `curl takes http: and https: URLs, not ${target.href}`)
  }
  await startPod(kube, namespace, limits)
  const final = await until<{ response: CurlResponse } | { failure: unknown }>(
    `an answer from ${target.href}, asked from Pod ${namespace}/${podName}`,
    async (signal) => {
      try {
        return { response: await exchange(kube, namespace, target, options, signal) }
      } catch (thrown) {
        if (retry) throw thrown
        return { failure: thrown }
      }
    },
    { ...limits, intervalMs: 100 },
  )
  if ('response' in final) return final.response
  throw new MayflyError('EXEC_FAILED', `No answer from ${target.href}: ${messageOf(final.failure)}`, {
    cause: final.failure,
  })
}

async function startPod(kube: Kube, namespace: string, limits: WaitLimits): Promise<void> {
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: podName, namespace, labels: { 'io.mayfly/part': 'curl' } },
    spec: {
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      terminationGracePeriodSeconds: 0,
      tolerations: [{ operator: 'Exists' }],
      containers: [
        { name: 'curl', image, imagePullPolicy: 'IfNotPresent', command: ['sleep', '2147483647'] },
      ],
    },
  }
  const [live] = await applyAll(kube, [pod], limits)
  if (live?.status?.phase === 'Running') return
  await waitFor(kube, pod, { jsonPath: '{.status.phase}', value: 'Running' }, limits)
}

async function exchange(
  kube: Kube,
  namespace: string,
  target: URL,
  { method = 'GET', headers = {}, body, ca }: CurlOptions,
  signal: AbortSignal,
): Promise<CurlResponse> {
  const isRaw = body === undefined || typeof body === 'string' || body instanceof Uint8Array
  const payload = isRaw ? body : JSON.stringify(body)
  const host = target.hostname.replace(/^\[|\]$/g, '')
  const isTls = target.protocol === 'https:'
  const port = target.port || (isTls ? '443' : '80')
  const tunnel = dial(kube, namespace, host, port, signal)
  const socket = isTls
    ? connectTls({
        socket: tunnel,
        ...(isIP(host) ? { host } : { servername: host }),
        ...(ca ? { ca } : { rejectUnauthorized: false }),
      })
    : tunnel
  try {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      // A reset of the tunnel is told by it, with the reason; the request only knows that it hung up.
      tunnel.on('error', reject)
      const request = httpRequest({
        createConnection: () => socket as never,
        host,
        port,
        method,
        path: `${target.pathname}${target.search}`,
        headers: {
          host: target.host,
          connection: 'close',
          'user-agent': 'mayfly',
          ...(target.username && { authorization: basic(target) }),
          ...(payload !== undefined && { 'content-length': Buffer.byteLength(payload) }),
          ...(!isRaw && { 'content-type': 'application/json' }),
          ...headers,
        },
        signal,
      })
      request.on('response', resolve)
      request.on('error', (error) => setImmediate(() => reject(error)))
      request.end(payload)
    })
    return { status: response.statusCode ?? 0, headers: response.headers, body: await text(response) }
  } finally {
    socket.destroy()
    tunnel.destroy()
  }
}

function basic({ username, password }: URL): string {
  return `Basic ${Buffer.from(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`).toString('base64')}`
}

/**
 * Until a connection must be made. The address of a pod that has just gone answers nothing at all, and to wait for it for as long as the
 * whole request may take leaves no time to try again.
 */
const connectSeconds = 2

/** A TCP connection that is made by `nc` in the pod. */
function dial(kube: Kube, namespace: string, host: string, port: string, signal: AbortSignal): Duplex {
  const input = new PassThrough()
  const ended = new AbortController()
  const connection = new Duplex({
    read: () => undefined,
    write: (chunk: Buffer, _, done) => void input.write(chunk, done),
    // The server may still answer: the connection is closed when all of its answer is here.
    final: (done) => done(),
    destroy(error, done) {
      ended.abort()
      input.end()
      done(error)
    },
  })
  const limit = AbortSignal.any([signal, ended.signal])
  execInPod(kube, podName, ['nc', '-w', String(connectSeconds), host, port], {
    namespace,
    stdin: input,
    signal: limit,
    onOutput: (stream, bytes) => void (stream === 'stdout' && connection.push(bytes)),
  }).then(
    ({ exitCode, stderr }) => {
      if (exitCode === 0) connection.push(null)
      else connection.destroy(new Error(stderr.trim() || `nc ended with exit code ${exitCode}`))
    },
    (thrown: unknown) => {
      if (!ended.signal.aborted) connection.destroy(thrown as Error)
    },
  )
  return connection
}
