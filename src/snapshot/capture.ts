import { isDeepStrictEqual } from 'node:util'
import { MayflyError } from '../errors.ts'
import { discoverKinds, type Kube, type KubeObject, list, type ResourceKind } from '../kube/index.ts'
import type { Snapshot } from './snapshot.ts'

/** Every object that the API shows, by kind, namespace and name, without what is different at every look. */
export type Capture = ReadonlyMap<string, unknown>

/** Captures are only ever in the process that took them. */
const captures = new WeakMap<Snapshot, Capture>()

/** Keeps what the API showed when a snapshot was taken. */
export function keepCapture(snapshot: Snapshot, capture: Capture): void {
  captures.set(snapshot, capture)
}

/** Kinds that tell of what happened or who is there, not of what shall be. */
const volatileKinds = new Set(['Event', 'Lease', 'ComponentStatus', 'CertificateSigningRequest'])

/** Reads every object of the cluster through the API. */
export async function captureObjects(kube: Kube, signal?: AbortSignal): Promise<Capture> {
  const kinds = await discoverKinds(kube, { refresh: true, signal })
  const listable = kinds.filter(({ verbs, kind }) => verbs.includes('list') && !volatileKinds.has(kind))
  // A kind may be offered in several versions; the preferred one comes first.
  const distinct = new Map(listable.reverse().map((kind) => [`${kind.kind}.${groupOf(kind)}`, kind]))
  const lists = await Promise.all(
    [...distinct].map(async ([title, { apiVersion, kind }]) => {
      const objects = await list(kube, { apiVersion, kind }, { signal })
      return [
        [`kind ${title}`, true] as const,
        ...objects.map((object) => [titleOf(title, object), comparable(object)] as const),
      ]
    }),
  )
  return new Map(lists.flat())
}

/**
 * What the API showed when a snapshot was taken.
 *
 * @throws MayflyError `CONFIG_INVALID` when the snapshot was taken elsewhere or without its objects
 */
export function captureOf(snapshot: Snapshot): Capture {
  const capture = captures.get(snapshot)
  if (capture) return capture
  throw new MayflyError(
    'CONFIG_INVALID',
    `Nothing is known of the objects of snapshot "${snapshot.name}", which \`verify: 'full'\` compares`,
    { hint: 'Take it in this process with `cluster.snapshot(name, { objects: true })`' },
  )
}

/** What differs from a capture by now, one sentence each. */
export async function differencesFromCapture(
  kube: Kube,
  before: Capture,
  signal?: AbortSignal,
): Promise<string[]> {
  return differences(before, await captureObjects(kube, signal))
}

/** What one capture has and another has not. Pure. */
export function differences(before: Capture, after: Capture): string[] {
  const missing = [...before.keys()]
    .filter((title) => !after.has(title))
    .map((title) => `${title} is missing`)
  const added = [...after.keys()]
    .filter((title) => !before.has(title))
    .map((title) => `${title} is left over`)
  const changed = [...before].flatMap(([title, object]) =>
    after.has(title) && !isAsBefore(object, after.get(title))
      ? [`${title} differs: ${describe(object, after.get(title))}`]
      : [],
  )
  return [...missing, ...added, ...changed]
}

/**
 * The pods that answer for a Service. A controller derives them, and may still have been behind the pods when they were
 * captured: more of them are no difference, for pods are compared themselves.
 */
class Answering {
  readonly labels: unknown
  readonly ready: number
  readonly ports: unknown

  constructor(object: KubeObject) {
    const slice = object as KubeObject & {
      endpoints?: { conditions?: { ready?: boolean } }[]
      ports?: unknown
      subsets?: { addresses?: unknown[]; ports?: unknown }[]
    }
    const { endpoints = [], subsets = [] } = slice
    this.labels = object.metadata.labels
    this.ready =
      endpoints.filter(({ conditions }) => conditions?.ready).length +
      subsets.reduce((sum, { addresses = [] }) => sum + addresses.length, 0)
    this.ports = slice.ports ?? subsets.map(({ ports }) => ports)
  }

  isCoveredBy(later: Answering): boolean {
    const samePorts = this.ready === 0 || isDeepStrictEqual(this.ports, later.ports)
    return later.ready >= this.ready && samePorts && isDeepStrictEqual(this.labels, later.labels)
  }
}

function isAsBefore(before: unknown, after: unknown): boolean {
  if (before instanceof Answering && after instanceof Answering) return before.isCoveredBy(after)
  return isDeepStrictEqual(before, after)
}

/** The places where two values differ, with both. */
function describe(before: unknown, after: unknown, path = ''): string {
  if (isRecord(before) && isRecord(after)) {
    return [...new Set([...Object.keys(before), ...Object.keys(after)])]
      .filter((name) => !isDeepStrictEqual(before[name], after[name]))
      .map((name) => describe(before[name], after[name], `${path}.${name}`))
      .join(', ')
  }
  return `${path} was ${JSON.stringify(before)} and is ${JSON.stringify(after)}`
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function groupOf({ apiVersion }: ResourceKind): string {
  return apiVersion.includes('/') ? (apiVersion.split('/')[0] ?? '') : ''
}

/** EndpointSlices get a new name when their controller makes them anew; their Service keeps its own. */
function titleOf(kind: string, { metadata }: KubeObject): string {
  const service = kind.startsWith('EndpointSlice.') && metadata.labels?.['kubernetes.io/service-name']
  const name = service ? `(of Service ${service})` : metadata.name
  return `${kind} ${metadata.namespace ? `${metadata.namespace}/` : ''}${name}`
}

type Fields = Record<string, unknown>

/** An object without what differs at every look: versions, times, who wrote it last, where its pods run. Pure. */
export function comparable(object: KubeObject): unknown {
  if (object.kind === 'EndpointSlice' || object.kind === 'Endpoints') return new Answering(object)
  const { metadata, status, ...rest } = object as KubeObject & { status?: Fields }
  const {
    resourceVersion: _,
    managedFields: _managed,
    generation: _generation,
    ...fields
  } = metadata as Fields
  const isPod = object.kind === 'Pod'
  // A pod that started once more is another one, by its UID.
  const { uid, name, creationTimestamp, annotations, ...derivedFields } = fields
  // On a static pod: when its kubelet saw the manifest.
  const { 'kubernetes.io/config.seen': _seen, ...podAnnotations } = (annotations ?? {}) as Fields
  return {
    ...rest,
    metadata: isPod
      ? { ...derivedFields, name, annotations: podAnnotations }
      : { ...derivedFields, name, uid, creationTimestamp, annotations },
    status: comparableStatus(object.kind ?? '', status),
  }
}

/** Of nodes and pods, whether they are as they should be; of all others, their status without times. */
function comparableStatus(kind: string, status: Fields | undefined): unknown {
  const conditions = (status?.['conditions'] ?? []) as { type: string; status: string; reason?: string }[]
  const judged = Object.fromEntries(conditions.map(({ type, status }) => [type, status]))
  if (kind === 'Node')
    return { conditions: judged, capacity: Object.keys((status?.['capacity'] ?? {}) as Fields) }
  if (kind === 'Pod') return { phase: status?.['phase'], conditions: judged }
  const { conditions: _, observedGeneration: _observed, ...others } = status ?? {}
  return { ...others, conditions: judged }
}
