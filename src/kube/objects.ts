/**
 * Any Kubernetes object, as the API writes it: dates are strings, and fields beyond the three are whatever the kind has.
 *
 * @public
 */
export interface KubeObject {
  apiVersion: string
  kind: string
  metadata: KubeMetadata
  // biome-ignore-start lint/suspicious/noExplicitAny: a test reads object.status.phase of kinds that have no type here
  spec?: any
  status?: any
  [field: string]: any
  // biome-ignore-end lint/suspicious/noExplicitAny: as above
}

/**
 * What every object has (https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/object-meta/).
 *
 * @public
 */
export interface KubeMetadata {
  name?: string
  generateName?: string
  namespace?: string
  uid?: string
  resourceVersion?: string
  generation?: number
  creationTimestamp?: string
  deletionTimestamp?: string
  labels?: Record<string, string>
  annotations?: Record<string, string>
  finalizers?: string[]
  ownerReferences?: { apiVersion: string; kind: string; name: string; uid: string; controller?: boolean }[]
  managedFields?: unknown[]
}

/**
 * One entry of `status.conditions`.
 *
 * @public
 */
export interface KubeCondition {
  type: string
  status: string
  reason?: string
  message?: string
  observedGeneration?: number
  lastTransitionTime?: string
}

/**
 * Names one object: `{ kind: 'Deployment', name: 'web' }`, an object itself, or a string as kubectl takes it
 * (`deployment/web`, `deploy/web`, `certificates.cert-manager.io/web`). A kind without `apiVersion` is looked up among all that the
 * server has; `namespace` is the caller's, or the kubeconfig's, when left out.
 *
 * @public
 */
export type ObjectRef =
  | string
  | KubeObject
  | { apiVersion?: string; kind: string; name: string; namespace?: string }

/**
 * Names a kind: `{ apiVersion: 'apps/v1', kind: 'Deployment' }`, or any word that kubectl takes for it
 * (`Deployment`, `deployments`, `deploy`, `deployments.apps`).
 *
 * @public
 */
export type KindRef = string | { apiVersion?: string; kind: string }

/** The parts of an {@link ObjectRef}. */
export function partsOf(ref: ObjectRef): { kind: KindRef; name: string; namespace: string | undefined } {
  if (typeof ref === 'string') {
    const slash = ref.indexOf('/')
    return {
      kind: ref.slice(0, slash === -1 ? ref.length : slash),
      name: slash === -1 ? '' : ref.slice(slash + 1),
      namespace: undefined,
    }
  }
  if (isObject(ref)) return { kind: ref, name: ref.metadata.name ?? '', namespace: ref.metadata.namespace }
  return { kind: ref, name: ref.name, namespace: ref.namespace }
}

function isObject(ref: Exclude<ObjectRef, string>): ref is KubeObject {
  return 'metadata' in ref
}

/** An object as errors and reports name it: `Deployment shop/web`, `Namespace shop`. */
export function nameOf({ kind, metadata }: Pick<KubeObject, 'kind' | 'metadata'>): string {
  return `${kind} ${[metadata.namespace, metadata.name ?? `${metadata.generateName}*`].filter(Boolean).join('/')}`
}

/** A key that no other live object of the cluster has. */
export function keyOf(object: Pick<KubeObject, 'apiVersion' | 'kind' | 'metadata'>): string {
  return `${groupOf(object.apiVersion)}/${object.kind}/${object.metadata.namespace ?? ''}/${object.metadata.name}`
}

/** `apps` of `apps/v1`, and the empty string, which is the core group, of `v1`. */
export function groupOf(apiVersion: string): string {
  return apiVersion.includes('/') ? apiVersion.slice(0, apiVersion.indexOf('/')) : ''
}

/** The condition of that type, if the object has it. */
export function conditionOf(object: KubeObject, type: string): KubeCondition | undefined {
  return conditionsOf(object).find((condition) => condition.type === type)
}

/** `status.conditions`, where it is a list. */
export function conditionsOf(object: KubeObject): KubeCondition[] {
  return Array.isArray(object.status?.conditions) ? object.status.conditions : []
}

/** Whether labels fit a plain label map, as a Service's selector is; an empty one fits nothing. */
export function labelsMatch(
  selector: Record<string, string> | undefined,
  labels: Record<string, string> | undefined,
): boolean {
  const wanted = Object.entries(selector ?? {})
  return wanted.length > 0 && wanted.every(([key, value]) => labels?.[key] === value)
}
