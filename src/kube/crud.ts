import type { Kube } from './connection.ts'
import { collectionPath, locate, resolveKind } from './discovery.ts'
import { type KindRef, type KubeObject, nameOf, type ObjectRef } from './objects.ts'
import { kubeStatus } from './status.ts'

/**
 * Where to look, and when to give up.
 *
 * @public
 */
export interface ObjectOptions {
  /** For a reference that names none; default: the kubeconfig's own. */
  namespace?: string | undefined
  signal?: AbortSignal | undefined
}

/**
 * Reads one object.
 *
 * @throws MayflyError `KUBE_REQUEST_FAILED`, also when it does not exist; see {@link find}
 * @public
 */
export async function get<T extends object = KubeObject>(
  kube: Kube,
  ref: ObjectRef,
  { namespace, signal }: ObjectOptions = {},
): Promise<T> {
  const { path, label } = await locate(kube, ref, namespace, signal)
  return kube.request<T>('GET', path, { signal, doing: `get ${label}` })
}

/**
 * Reads one object, or `undefined` where there is none.
 *
 * @throws MayflyError `KUBE_REQUEST_FAILED` for any other reason, such as a kind that the server does not have
 * @public
 */
export async function find<T extends object = KubeObject>(
  kube: Kube,
  ref: ObjectRef,
  { namespace, signal }: ObjectOptions = {},
): Promise<T | undefined> {
  const { path, label } = await locate(kube, ref, namespace, signal)
  return missingAsUndefined(kube.request<T>('GET', path, { signal, doing: `get ${label}` }))
}

/**
 * What a list is narrowed by.
 *
 * @public
 */
export interface ListOptions extends ObjectOptions {
  /** Such as `app=web,tier!=cache`. */
  labelSelector?: string | undefined
  /** Such as `status.phase=Running`. */
  fieldSelector?: string | undefined
}

/**
 * Reads all objects of a kind, in one namespace or, when none is given, in all.
 *
 * @throws MayflyError `KUBE_REQUEST_FAILED`
 * @public
 */
export async function list<T extends object = KubeObject>(
  kube: Kube,
  kind: KindRef,
  { namespace, signal, labelSelector, fieldSelector }: ListOptions = {},
): Promise<T[]> {
  const resource = await resolveKind(kube, kind, signal)
  const { items } = await kube.request<{ items: T[] }>('GET', collectionPath(resource, namespace), {
    query: { labelSelector, fieldSelector },
    signal,
    doing: `list ${resource.plural}${namespace ? ` in ${namespace}` : ''}`,
  })
  // The items of a typed list come without their kind.
  return items.map((item) => ({ apiVersion: resource.apiVersion, kind: resource.kind, ...item }))
}

/**
 * Creates an object, which may have a `generateName`. To create or change, use `applyAll`.
 *
 * @throws MayflyError `KUBE_REQUEST_FAILED`, also when it exists
 * @public
 */
export async function create<T extends object = KubeObject>(
  kube: Kube,
  object: KubeObject,
  { namespace, signal }: ObjectOptions = {},
): Promise<T> {
  const resource = await resolveKind(kube, object, signal)
  const within = object.metadata.namespace ?? namespace ?? kube.access.namespace
  return kube.request<T>('POST', collectionPath(resource, within), {
    body: object,
    signal,
    doing: `create ${nameOf(object)}`,
  })
}

/**
 * How to delete.
 *
 * @public
 */
export interface RemoveOptions extends ObjectOptions {
  /** What becomes of the objects it owns; default `Background`: they go after it. */
  propagation?: 'Background' | 'Foreground' | 'Orphan'
  /** Time that pods get to end; default: as the pod says. 0 is at once. */
  gracePeriodSeconds?: number
}

/**
 * Asks for an object's deletion, without waiting for its end (for which there is `waitFor(kube, ref, 'deleted', ...)`).
 *
 * @returns Whether there was one
 * @throws MayflyError `KUBE_REQUEST_FAILED`
 * @public
 */
export async function remove(
  kube: Kube,
  ref: ObjectRef,
  { namespace, signal, propagation = 'Background', gracePeriodSeconds }: RemoveOptions = {},
): Promise<boolean> {
  const { path, label } = await locate(kube, ref, namespace, signal)
  const body = {
    propagationPolicy: propagation,
    ...(gracePeriodSeconds !== undefined && { gracePeriodSeconds }),
  }
  return (
    (await missingAsUndefined(kube.request('DELETE', path, { body, signal, doing: `delete ${label}` }))) !==
    undefined
  )
}

/**
 * How a patch is meant.
 *
 * @public
 */
export interface PatchOptions extends ObjectOptions {
  /** `merge` (default), `strategic` (built-in kinds only: lists merge by key), `json` (RFC 6902) or `apply` (server-side, forced). */
  type?: 'merge' | 'strategic' | 'json' | 'apply'
  /** Patches `status` or `scale` instead of the object. */
  subresource?: string
  /** Default `mayfly`. */
  fieldManager?: string
}

const patchTypes = {
  merge: 'application/merge-patch+json',
  strategic: 'application/strategic-merge-patch+json',
  json: 'application/json-patch+json',
  apply: 'application/apply-patch+yaml',
}

/**
 * Changes parts of an object.
 *
 * @throws MayflyError `KUBE_REQUEST_FAILED`
 * @public
 */
export async function patch<T extends object = KubeObject>(
  kube: Kube,
  ref: ObjectRef,
  change: object,
  { namespace, signal, type = 'merge', subresource, fieldManager = 'mayfly' }: PatchOptions = {},
): Promise<T> {
  const { path, label } = await locate(kube, ref, namespace, signal)
  return kube.request<T>('PATCH', subresource ? `${path}/${subresource}` : path, {
    body: change,
    query: { fieldManager, ...(type === 'apply' && { force: true }) },
    headers: { 'content-type': patchTypes[type] },
    signal,
    doing: `patch ${label}`,
  })
}

async function missingAsUndefined<T>(request: Promise<T>): Promise<T | undefined> {
  try {
    return await request
  } catch (thrown) {
    if (kubeStatus(thrown)?.code === 404) return undefined
    throw thrown
  }
}
