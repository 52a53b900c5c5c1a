import { MayflyError } from '../errors.ts'
import type { Kube } from './connection.ts'
import { didYouMean } from './near.ts'
import { groupOf, type KindRef, type ObjectRef, partsOf } from './objects.ts'
import { notThere } from './status.ts'

/**
 * A kind as the server offers it.
 *
 * @public
 */
export interface ResourceKind {
  apiVersion: string
  kind: string
  /** Plural name in paths, such as `deployments`. */
  plural: string
  singular: string
  shortNames: readonly string[]
  namespaced: boolean
  /** What can be done with it, such as `list` and `watch`. */
  verbs: readonly string[]
}

/** https://pkg.go.dev/k8s.io/api/apidiscovery/v2#APIGroupDiscoveryList */
interface GroupDiscoveryList {
  items: {
    metadata: { name?: string }
    versions: {
      version: string
      resources?: {
        resource: string
        responseKind?: { kind: string }
        scope: 'Namespaced' | 'Cluster'
        singularResource?: string
        shortNames?: string[]
        verbs: string[]
      }[]
    }[]
  }[]
}

const aggregated = ['v2', 'v2beta1']
  .map((version) => `application/json;g=apidiscovery.k8s.io;v=${version};as=APIGroupDiscoveryList`)
  .join(',')

const known = new WeakMap<Kube, Promise<ResourceKind[]>>()

/**
 * Every kind that the server has, the preferred version of each group first. Kept for the connection's life.
 *
 * @param refresh Ask the server even if it was asked before
 * @public
 */
export function discoverKinds(
  kube: Kube,
  { refresh = false, signal }: { refresh?: boolean; signal?: AbortSignal | undefined } = {},
) {
  let kinds = known.get(kube)
  if (!kinds || refresh) {
    kinds = askForKinds(kube, signal)
    known.set(kube, kinds)
    // A failure must not be kept: the next caller asks again.
    kinds.catch(() => known.get(kube) === kinds && known.delete(kube))
  }
  return kinds
}

async function askForKinds(kube: Kube, signal: AbortSignal | undefined): Promise<ResourceKind[]> {
  const lists = await Promise.all(
    ['/api', '/apis'].map((path) =>
      kube.request<GroupDiscoveryList>('GET', path, {
        headers: { accept: aggregated },
        signal,
        doing: 'ask the API server for its kinds',
      }),
    ),
  )
  return lists
    .flatMap((list) => list.items)
    .flatMap((group) =>
      group.versions.flatMap(({ version, resources = [] }) =>
        resources.map((resource) => ({
          apiVersion: group.metadata.name ? `${group.metadata.name}/${version}` : version,
          kind: resource.responseKind?.kind ?? '',
          plural: resource.resource,
          singular: resource.singularResource ?? '',
          shortNames: resource.shortNames ?? [],
          namespaced: resource.scope === 'Namespaced',
          verbs: resource.verbs,
        })),
      ),
    )
}

/**
 * The kind that is meant. A kind that is not known yet makes the server be asked once more.
 *
 * @throws MayflyError `KUBE_REQUEST_FAILED` when the server has no such kind, with near ones
 * @public
 */
export async function resolveKind(kube: Kube, ref: KindRef, signal?: AbortSignal): Promise<ResourceKind> {
  for (const refresh of [false, true]) {
    const found = findKind(await discoverKinds(kube, { refresh, signal }), ref)
    if (found) return found
  }
  throw unknownKind(ref, await discoverKinds(kube, { signal }))
}

/** The kind that is meant, among those given. */
export function findKind(kinds: readonly ResourceKind[], ref: KindRef): ResourceKind | undefined {
  if (typeof ref !== 'string') {
    return kinds.find(
      (kind) => kind.kind === ref.kind && (!ref.apiVersion || kind.apiVersion === ref.apiVersion),
    )
  }
  const dot = ref.indexOf('.')
  const word = (dot === -1 ? ref : ref.slice(0, dot)).toLowerCase()
  const group = dot === -1 ? undefined : ref.slice(dot + 1)
  const candidates = group === undefined ? kinds : kinds.filter((kind) => groupOf(kind.apiVersion) === group)
  return (
    candidates.find((kind) => [kind.kind.toLowerCase(), kind.plural, kind.singular].includes(word)) ??
    candidates.find((kind) => kind.shortNames.includes(word))
  )
}

/** The error for a kind that the server does not have. */
function unknownKind(ref: KindRef, kinds: readonly ResourceKind[]): MayflyError {
  const wanted =
    typeof ref === 'string'
      ? ref
      : [ref.kind, ref.apiVersion && `(${ref.apiVersion})`].filter(Boolean).join(' ')
  return notThere(`The API server has no kind ${wanted}`, kindHint(ref, kinds))
}

/** What to do about a kind that the server does not have. */
export function kindHint(ref: KindRef, kinds: readonly ResourceKind[]): string {
  const name = typeof ref === 'string' ? (ref.split('.')[0] ?? ref) : ref.kind
  const elsewhere = [
    ...new Set(
      kinds
        .filter((kind) => kind.kind.toLowerCase() === name.toLowerCase())
        .map((kind) => `${kind.kind} (${kind.apiVersion})`),
    ),
  ]
  if (elsewhere.length > 0) return `It has ${elsewhere.join(', ')}`
  return (
    didYouMean(
      name,
      kinds.flatMap((kind) =>
        typeof ref === 'string' ? [kind.kind, kind.plural, ...kind.shortNames] : [kind.kind],
      ),
    ) ?? 'Apply the CustomResourceDefinition or APIService that brings it first, or in the same set'
  )
}

/** The path of a kind's collection; without a namespace, of all namespaces. */
export function collectionPath(
  { apiVersion, plural, namespaced }: Pick<ResourceKind, 'apiVersion' | 'plural' | 'namespaced'>,
  namespace?: string,
): string {
  const root = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`
  return namespaced && namespace
    ? `${root}/namespaces/${encodeURIComponent(namespace)}/${plural}`
    : `${root}/${plural}`
}

/** An object that may or may not exist, found out as far as its path. */
export interface LocatedObject {
  resource: ResourceKind
  name: string
  /** Undefined for kinds that live in no namespace. */
  namespace: string | undefined
  path: string
  /** As errors name it: `Deployment shop/web`. */
  label: string
}

/**
 * Where an object is.
 *
 * @param namespace For a namespaced kind whose reference has none; default: the kubeconfig's
 * @throws MayflyError `KUBE_REQUEST_FAILED` when the server has no such kind or the reference has no name
 */
export async function locate(
  kube: Kube,
  ref: ObjectRef,
  namespace?: string,
  signal?: AbortSignal,
): Promise<LocatedObject> {
  const parts = partsOf(ref)
  if (!parts.name) {
    throw new MayflyError(
      'KUBE_REQUEST_FAILED',
      `No object is named by ${JSON.stringify(typeof ref === 'string' ? ref : parts.kind)}`,
      {
        hint: "Name it as 'kind/name'",
      },
    )
  }
  const resource = await resolveKind(kube, parts.kind, signal)
  return locateIn(resource, parts.name, parts.namespace ?? namespace ?? kube.access.namespace)
}

/** Where an object of a known kind is. */
export function locateIn(resource: ResourceKind, name: string, namespace: string): LocatedObject {
  const within = resource.namespaced ? namespace : undefined
  return {
    resource,
    name,
    namespace: within,
    path: `${collectionPath(resource, within)}/${encodeURIComponent(name)}`,
    label: `${resource.kind} ${within ? `${within}/` : ''}${name}`,
  }
}
