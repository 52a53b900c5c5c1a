import { StringDecoder } from 'node:string_decoder'
import { pause } from '../wait.ts'
import type { Kube } from './connection.ts'
import { collectionPath, resolveKind } from './discovery.ts'
import type { KindRef, KubeObject } from './objects.ts'
import { kubeStatus, refusal } from './status.ts'

/**
 * What is watched: a kind, or the path of a collection, which spares the look-up of the kind.
 *
 * @public
 */
export type WatchTarget = KindRef | { path: string }

/**
 * How a collection is watched.
 *
 * @public
 */
export interface WatchOptions {
  /** Default: all namespaces. Not used with a path. */
  namespace?: string | undefined
  labelSelector?: string | undefined
  fieldSelector?: string | undefined
  /** Ends the iteration, without an error. */
  signal?: AbortSignal | undefined
  /** Told when the server could not be reached and will be asked again. */
  onTrouble?: ((trouble: unknown) => void) | undefined
}

/**
 * One step of a watch: the first is `LISTED`, every further one is a change of one object. What changed while the
 * connection was lost appears as changes as well.
 *
 * @public
 */
export type WatchStep<T extends KubeObject = KubeObject> = (
  | { type: 'LISTED'; object?: never }
  | { type: 'ADDED' | 'MODIFIED' | 'DELETED'; object: T }
) & {
  /** All objects after this step, by `namespace/name`. The same map at every step. */
  items: ReadonlyMap<string, T>
}

/** A watch is renewed so often, so that a connection that died in silence is noticed soon after. */
const watchSeconds = 60
const idleTimeoutMs = (watchSeconds + 10) * 1000

/** Refusals that may be over a moment later. */
const passing = new Set([408, 410, 429, 500, 502, 503, 504])

/**
 * Lists a collection, then follows it. Lost connections, restarts of the API server and expired resource versions are survived by
 * listing again; what was missed is made up for.
 *
 * @throws MayflyError `KUBE_REQUEST_FAILED` when the server refuses for good (no such kind, forbidden, bad selector)
 * @public
 */
export async function* watchList<T extends KubeObject = KubeObject>(
  kube: Kube,
  target: WatchTarget,
  { namespace, labelSelector, fieldSelector, signal, onTrouble }: WatchOptions = {},
): AsyncGenerator<WatchStep<T>, void> {
  const items = new Map<string, T>()
  const selectors = { labelSelector, fieldSelector }
  const ended = new AbortController()
  const limit = signal ? AbortSignal.any([signal, ended.signal]) : ended.signal
  let path: string | undefined
  let version: string | undefined
  let listed = false
  let failures = 0
  try {
    while (!limit.aborted) {
      try {
        path ??= await pathOf(kube, target, namespace, limit)
        if (version === undefined) {
          const doing = `list ${path}`
          const fresh = await kube.request<List<T>>('GET', path, { query: selectors, signal: limit, doing })
          version = fresh.metadata.resourceVersion
          const changes = replaceItems(items, fresh)
          if (!listed) yield { type: 'LISTED', items }
          else for (const change of changes) yield { ...change, items }
          listed = true
        }
        failures = 0
        const query = {
          ...selectors,
          watch: true,
          allowWatchBookmarks: true,
          resourceVersion: version,
          timeoutSeconds: watchSeconds,
        }
        const body = await kube.open('GET', path, {
          query,
          signal: limit,
          idleTimeoutMs,
          doing: `watch ${path}`,
        })
        for await (const line of lines(body)) {
          const { type, object } = JSON.parse(line) as { type: string; object: T }
          if (type === 'ERROR') throw refusal(`watch ${path}`, Number(object['code']), JSON.stringify(object))
          version = object.metadata.resourceVersion
          if (type === 'BOOKMARK') continue
          const key = itemKey(object)
          if (type === 'DELETED') items.delete(key)
          else items.set(key, object)
          yield { type: type as 'ADDED', object, items }
        }
      } catch (thrown) {
        if (limit.aborted) return
        const code = kubeStatus(thrown)?.code
        if (code !== undefined && !passing.has(code)) throw thrown
        // Without an answer the version is still good; a server that answered with an error may have forgotten it.
        if (code !== undefined) version = undefined
        if (code === 410) continue
        onTrouble?.(thrown)
        failures++
        await pause(Math.min(50 * 2 ** failures, 2000), limit)
      }
    }
  } finally {
    ended.abort()
  }
}

interface List<T> {
  apiVersion: string
  kind: string
  metadata: { resourceVersion: string }
  items: T[]
}

async function pathOf(
  kube: Kube,
  target: WatchTarget,
  namespace: string | undefined,
  signal: AbortSignal,
): Promise<string> {
  if (typeof target === 'object' && 'path' in target) return target.path
  return collectionPath(await resolveKind(kube, target, signal), namespace)
}

/** Makes `items` what the list says and tells the changes that lead there. */
function replaceItems<T extends KubeObject>(items: Map<string, T>, list: List<T>) {
  const changes: { type: 'ADDED' | 'MODIFIED' | 'DELETED'; object: T }[] = []
  // The items of a typed list come without their kind, which is the list's without "List".
  const own = { apiVersion: list.apiVersion, kind: list.kind.replace(/List$/, '') }
  const fresh = new Map(list.items.map((item) => [itemKey(item), { ...own, ...item }]))
  for (const [key, old] of items) {
    if (fresh.get(key)?.metadata.uid === old.metadata.uid) continue
    items.delete(key)
    changes.push({ type: 'DELETED', object: old })
  }
  for (const [key, object] of fresh) {
    const old = items.get(key)
    items.set(key, object)
    if (old?.metadata.resourceVersion !== object.metadata.resourceVersion) {
      changes.push({ type: old ? 'MODIFIED' : 'ADDED', object })
    }
  }
  return changes
}

function itemKey({ metadata }: KubeObject): string {
  return `${metadata.namespace ?? ''}/${metadata.name}`
}

/** The lines of a stream of bytes, as they come. */
export async function* lines(source: AsyncIterable<Buffer>): AsyncGenerator<string> {
  const decoder = new StringDecoder('utf8')
  let rest = ''
  for await (const chunk of source) {
    const parts = (rest + decoder.write(chunk)).split('\n')
    rest = parts.pop() ?? ''
    yield* parts
  }
  rest += decoder.end()
  if (rest) yield rest
}
