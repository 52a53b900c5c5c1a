import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { text } from 'node:stream/consumers'
import type * as ClientNode from '@kubernetes/client-node'
import { clientNode, sharedKubeConfig } from './client-node.ts'
import { type Access, readAccess } from './kubeconfig.ts'
import { kubeStatus, noAnswer, refusal } from './status.ts'

/**
 * How one request is made.
 *
 * @public
 */
export interface KubeRequestOptions {
  /** Added to the path's query; `undefined` values are left out, arrays are repeated. */
  query?: Record<string, string | number | boolean | readonly string[] | undefined>
  /** Sent as JSON, or as it is when it is a string or bytes. */
  body?: unknown
  /** `content-type` is `application/json` unless given here. */
  headers?: Record<string, string>
  signal?: AbortSignal | undefined
  /** What the request is for, as it reads after "Could not" in an error; default: method and path. */
  doing?: string
  /** Gives up when nothing was received for so many milliseconds; default 60 000, 0 for never. */
  idleTimeoutMs?: number
}

/**
 * A connection to one cluster. It holds no resources but idle connections, which end by themselves.
 *
 * Requests of {@link Kube.request} and of every function of this package reuse connections; so do the clients of
 * `@kubernetes/client-node` that are given out here, which on their own make a new one for each request.
 *
 * @public
 */
export interface Kube {
  /** The kubeconfig it was made from. */
  readonly kubeconfig: string
  /** Where requests go and how they log in. */
  readonly access: Access
  /** The cluster has no nodes: what needs pods that run is refused with `CONTROL_PLANE_ONLY`. */
  readonly controlPlaneOnly: boolean
  /** The KubeConfig of `@kubernetes/client-node`, for whatever takes one. */
  readonly config: ClientNode.KubeConfig
  readonly core: ClientNode.CoreV1Api
  readonly apps: ClientNode.AppsV1Api
  readonly batch: ClientNode.BatchV1Api
  readonly networking: ClientNode.NetworkingV1Api
  readonly rbac: ClientNode.RbacAuthorizationV1Api
  readonly storage: ClientNode.StorageV1Api
  readonly apiextensions: ClientNode.ApiextensionsV1Api
  readonly customObjects: ClientNode.CustomObjectsApi
  /** Reads and writes objects of any kind. */
  readonly objects: ClientNode.KubernetesObjectApi
  /** Any other client: `kube.client(PolicyV1Api)`. Made once. Its errors are `ApiException`s; see `kubeStatus`. */
  client<T extends object>(api: new (configuration: ClientNode.Configuration) => T): T
  /**
   * One request, answered with the parsed JSON, or with the text where the response is no JSON.
   *
   * @throws MayflyError `KUBE_REQUEST_FAILED`; `kubeStatus(error)` has what the API server said
   */
  request<T = unknown>(method: string, path: string, options?: KubeRequestOptions): Promise<T>
  /**
   * One request, answered with the response's body as a stream, for watches and logs. Destroy it when done.
   *
   * @throws MayflyError `KUBE_REQUEST_FAILED`, also when the response is no success
   */
  open(method: string, path: string, options?: KubeRequestOptions): Promise<IncomingMessage>
  /** Ends the idle connections at once. */
  close(): void
  [Symbol.dispose](): void
}

/** Enough for an API server on the same machine; every further one would cost both ends a TLS handshake. */
const requestConnections = 8

/**
 * Connects to the cluster of a kubeconfig's current context. Nothing is sent yet.
 *
 * @param kubeconfigText The kubeconfig's text, not its path; YAML or JSON
 * @param options.controlPlaneOnly The cluster has no nodes; default false
 * @throws MayflyError `CONFIG_INVALID` when the text is no kubeconfig
 * @public
 */
export function connectKube(
  kubeconfigText: string,
  { controlPlaneOnly = false }: { controlPlaneOnly?: boolean | undefined } = {},
): Kube {
  const access = readAccess(kubeconfigText)
  const Agent = access.server.protocol === 'http:' ? HttpAgent : HttpsAgent
  // Watches and followed logs keep their connection, so they must not take one of the few that requests share.
  const requestAgent = new Agent({ keepAlive: true, maxSockets: requestConnections })
  const streamAgent = new Agent({ keepAlive: true })
  const clients = new Map<unknown, object>()
  let config: ClientNode.KubeConfig | undefined

  async function send(
    agent: HttpAgent,
    method: string,
    path: string,
    options: KubeRequestOptions,
  ): Promise<IncomingMessage> {
    const doing = options.doing ?? `${method} ${path}`
    for (let attempt = 1; ; attempt++) {
      try {
        const response = await exchange(access, agent, method, path, options)
        if ((response.statusCode ?? 500) < 300) return response
        throw refusal(doing, response.statusCode ?? 500, await text(response), response.statusMessage)
      } catch (thrown) {
        options.signal?.throwIfAborted()
        if (thrown instanceof StaleConnection && attempt <= requestConnections) continue
        if (kubeStatus(thrown)) throw thrown
        throw noAnswer(doing, access.server, thrown)
      }
    }
  }

  const kube: Kube = {
    kubeconfig: kubeconfigText,
    access,
    controlPlaneOnly,
    get config() {
      config ??= sharedKubeConfig(kubeconfigText)
      return config
    },
    get core() {
      return kube.client(clientNode().CoreV1Api)
    },
    get apps() {
      return kube.client(clientNode().AppsV1Api)
    },
    get batch() {
      return kube.client(clientNode().BatchV1Api)
    },
    get networking() {
      return kube.client(clientNode().NetworkingV1Api)
    },
    get rbac() {
      return kube.client(clientNode().RbacAuthorizationV1Api)
    },
    get storage() {
      return kube.client(clientNode().StorageV1Api)
    },
    get apiextensions() {
      return kube.client(clientNode().ApiextensionsV1Api)
    },
    get customObjects() {
      return kube.client(clientNode().CustomObjectsApi)
    },
    get objects() {
      const api = clientNode().KubernetesObjectApi
      const objects = clients.get(api) ?? api.makeApiClient(kube.config)
      clients.set(api, objects)
      return objects as ClientNode.KubernetesObjectApi
    },
    client<T extends object>(api: new (configuration: ClientNode.Configuration) => T): T {
      const client = clients.get(api) ?? kube.config.makeApiClient(api)
      clients.set(api, client)
      return client as T
    },
    async request<T>(method: string, path: string, options: KubeRequestOptions = {}): Promise<T> {
      const response = await send(requestAgent, method, path, options)
      let body: string
      try {
        body = await text(response)
      } catch (cause) {
        options.signal?.throwIfAborted()
        throw noAnswer(options.doing ?? `${method} ${path}`, access.server, cause)
      }
      return (response.headers['content-type']?.includes('json') ? JSON.parse(body) : body) as T
    },
    open: (method, path, options = {}) => send(streamAgent, method, path, options),
    close() {
      requestAgent.destroy()
      streamAgent.destroy()
    },
    [Symbol.dispose]() {
      kube.close()
    },
  }
  return kube
}

/** The server closed a kept connection at the moment when a request was put on it: the request was never read. */
class StaleConnection extends Error {}

async function exchange(
  access: Access,
  agent: HttpAgent,
  method: string,
  path: string,
  { query = {}, body, headers, signal, idleTimeoutMs = 60_000 }: KubeRequestOptions,
): Promise<IncomingMessage> {
  const url = new URL(access.server.href.replace(/\/$/, '') + path)
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined) url.searchParams.append(name, String(one))
    }
  }
  const payload =
    body === undefined || typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body)
  const { headers: authHeaders, ...tls } = await access.credentials()
  return new Promise((resolve, reject) => {
    const request = (url.protocol === 'http:' ? httpRequest : httpsRequest)(url, {
      agent,
      ...tls,
      method,
      ...(signal && { signal }),
      headers: {
        accept: 'application/json, */*;q=0.8',
        'user-agent': 'mayfly',
        ...(payload !== undefined && {
          'content-type': 'application/json',
          'content-length': String(Buffer.byteLength(payload)),
        }),
        ...authHeaders,
        ...headers,
      },
    })
    request.setTimeout(idleTimeoutMs, () =>
      request.destroy(new Error(`nothing received for ${idleTimeoutMs / 1000} s`)),
    )
    request.on('response', resolve)
    request.on('error', (error: NodeJS.ErrnoException) => {
      const unread =
        request.reusedSocket && method !== 'POST' && (error.code === 'ECONNRESET' || error.code === 'EPIPE')
      reject(unread ? new StaleConnection(error.message, { cause: error }) : error)
    })
    request.end(payload)
  })
}
