import { MayflyError, messageOf } from '../errors.ts'
import { deadline, until, type WaitLimits } from '../wait.ts'
import type { Kube } from './connection.ts'
import { discoverKinds, findKind, kindHint, locateIn, type ResourceKind, resolveKind } from './discovery.ts'
import { originOf } from './manifests.ts'
import { groupOf, type KubeObject, nameOf } from './objects.ts'
import { inApplyOrder } from './order.ts'
import { type KubeStatus, kubeStatus } from './status.ts'
import { waitFor } from './wait-for.ts'

/**
 * How objects are applied.
 *
 * @public
 */
export interface ApplyOptions {
  /** For namespaced objects that name none; default: the kubeconfig's own. */
  namespace?: string | undefined
  /** Whose fields they become; default `mayfly`. */
  fieldManager?: string
  /** For all of it; default 60 000. */
  timeoutMs?: number
  signal?: AbortSignal | undefined
}

/**
 * Creates or changes objects by server-side apply, taking fields over from whoever has them, in the order of dependency
 * (see `applyOrder`): namespaces first, definitions established before their objects, admission webhooks last. Kinds are
 * looked up before anything is changed. What passes by itself is waited out: a namespace or object of the same name still being
 * deleted, a webhook whose pods are just starting, a lost connection.
 *
 * @returns The objects as the server has them now, in the order in which they were given
 * @throws MayflyError `APPLY_FAILED` naming every object that was refused, where it comes from and why;
 *   `WAIT_TIMED_OUT`, `WAIT_ABORTED`
 * @public
 */
export async function applyAll(
  kube: Kube,
  objects: readonly KubeObject[],
  {
    namespace = kube.access.namespace,
    fieldManager = 'mayfly',
    timeoutMs = 60_000,
    signal,
  }: ApplyOptions = {},
): Promise<KubeObject[]> {
  const started = performance.now()
  const limits = () => ({
    timeoutMs: Math.max(100, Math.round((timeoutMs - (performance.now() - started)) / 100) * 100),
    signal,
  })
  const late = await servedLater(kube, objects, deadline(limits()))
  const applied = new Map<KubeObject, KubeObject>()

  async function applyTogether(group: readonly KubeObject[]): Promise<void> {
    const outcomes = await Promise.allSettled(
      group.map(async (object) => {
        const resource = await resolveKind(kube, object, deadline(limits()))
        applied.set(object, await applyOne(kube, object, resource, { namespace, fieldManager, limits }))
      }),
    )
    throwFailures(outcomes.filter((outcome) => outcome.status === 'rejected').map(({ reason }) => reason))
  }

  for (const { stage, objects: members } of inApplyOrder(objects.filter((object) => !late.has(object)))) {
    await applyTogether(members)
    const { until: condition } = stage
    if (!condition) continue
    await Promise.all(members.map((object) => waitFor(kube, object, { condition }, limits())))
    await waitForKinds(kube, members.flatMap(kindsOfDefinition), limits())
  }
  if (late.size > 0) {
    await waitForKinds(kube, [...late], limits())
    await applyTogether([...late])
  }
  return objects.map((object) => applied.get(object) ?? object)
}

/**
 * The objects whose kind comes with an APIService of the same set, so that it is there only when that service runs.
 *
 * @throws MayflyError `APPLY_FAILED` for a kind that is neither there nor brought by the set
 */
async function servedLater(
  kube: Kube,
  objects: readonly KubeObject[],
  signal: AbortSignal,
): Promise<Set<KubeObject>> {
  const defined = objects.flatMap(kindsOfDefinition)
  const aggregated = new Set(
    objects
      .filter((object) => object.kind === 'APIService' && object.spec?.service)
      .map(({ spec }) => `${spec.group}/${spec.version}`),
  )
  const isDefined = ({ apiVersion, kind }: KubeObject) =>
    defined.some((one) => one.apiVersion === apiVersion && one.kind === kind)
  let kinds = await discoverKinds(kube, { signal })
  const unknown = objects.filter((object) => !findKind(kinds, object) && !isDefined(object))
  if (unknown.length === 0) return new Set()
  kinds = await discoverKinds(kube, { refresh: true, signal })
  const stillUnknown = unknown.filter((object) => !findKind(kinds, object))
  throwFailures(
    stillUnknown
      .filter(({ apiVersion }) => !aggregated.has(apiVersion))
      .map(
        (object) =>
          new MayflyError(
            'APPLY_FAILED',
            `Could not apply ${described(object)}: the API server has no kind ${object.kind} (${object.apiVersion})`,
            {
              hint: kindHint(object, kinds),
            },
          ),
      ),
  )
  return new Set(stillUnknown)
}

/** The kinds that a CustomResourceDefinition brings; none for any other object. */
function kindsOfDefinition({
  apiVersion,
  kind,
  spec,
}: KubeObject): Pick<KubeObject, 'apiVersion' | 'kind'>[] {
  if (kind !== 'CustomResourceDefinition' || groupOf(apiVersion) !== 'apiextensions.k8s.io') return []
  const versions: { name: string; served?: boolean }[] = spec?.versions ?? []
  return versions
    .filter(({ served }) => served)
    .map(({ name }) => ({ apiVersion: `${spec.group}/${name}`, kind: spec.names?.kind }))
}

/** An established definition appears in discovery a moment later, and discovery cannot be watched. */
async function waitForKinds(
  kube: Kube,
  wanted: readonly Pick<KubeObject, 'apiVersion' | 'kind'>[],
  limits: WaitLimits,
): Promise<void> {
  await until(
    'the API server to offer the new kinds',
    async (signal, report) => {
      const kinds = await discoverKinds(kube, { refresh: true, signal })
      const missing = wanted.filter((one) => !findKind(kinds, one))
      report(`no ${missing.map(({ apiVersion, kind }) => `${kind} (${apiVersion})`).join(', ')}`)
      return missing.length === 0 || undefined
    },
    limits,
  )
}

async function applyOne(
  kube: Kube,
  object: KubeObject,
  resource: ResourceKind,
  { namespace, fieldManager, limits }: { namespace: string; fieldManager: string; limits: () => WaitLimits },
): Promise<KubeObject> {
  const { path, namespace: within } = locateIn(
    resource,
    object.metadata.name ?? '',
    object.metadata.namespace ?? namespace,
  )
  const { managedFields: _, ...metadata } = object.metadata
  const body = { ...object, metadata: { ...metadata, ...(within && { namespace: within }) } }
  const outcome = await until(
    `${nameOf(body)} to be accepted`,
    async (signal, report) => {
      try {
        const live = await kube.request<KubeObject>('PATCH', path, {
          query: { fieldManager, force: true, fieldValidation: 'Strict' },
          headers: { 'content-type': 'application/apply-patch+yaml' },
          body,
          signal,
          doing: `apply ${described(object)}`,
        })
        if (!live.metadata.deletionTimestamp) return { live }
        // What is being deleted takes the change and goes nevertheless.
        const held = live.metadata.finalizers?.join(', ')
        report(`one of that name is still being deleted${held ? `, held by ${held}` : ''}`)
        await waitFor(kube, live, 'deleted', limits())
        return undefined
      } catch (thrown) {
        if (isPassing(thrown)) throw thrown
        return { failure: thrown }
      }
    },
    { ...limits(), intervalMs: 100 },
  )
  if ('failure' in outcome) throw applyError(object, body, outcome.failure)
  return outcome.live
}

/** Whether the same request may well succeed a moment later. */
function isPassing(thrown: unknown): boolean {
  const status = kubeStatus(thrown)
  // No answer at all.
  if (!status) return true
  const { code, message, details } = status
  if (code === 403) return /because it is being terminated|error looking up service account/.test(message)
  // The path itself is not there yet: the handler of a new definition is still being set up.
  if (code === 404) return !details?.name
  if (code === 500) return /failed calling webhook|etcdserver:|timed? ?out/i.test(message)
  return code === 409 || code === 429 || code > 500
}

function applyError(object: KubeObject, body: KubeObject, thrown: unknown): MayflyError {
  const status = kubeStatus(thrown)
  const hint = status && hintFor(status, body)
  const summary = `Could not apply ${described(object)}: ${status ? `${reasonsOf(status)} (${status.code} ${status.reason})` : messageOf(thrown)}`
  return new MayflyError('APPLY_FAILED', summary, { cause: thrown, ...(hint && { hint }) })
}

function reasonsOf({ message, details }: KubeStatus): string {
  const causes = details?.causes?.filter((cause) => cause.field && cause.message) ?? []
  // For a single fault the message has all of it already.
  return causes.length > 1 ? causes.map(({ field, message: why }) => `${field}: ${why}`).join('; ') : message
}

function hintFor({ code, message, details }: KubeStatus, { metadata }: KubeObject): string | undefined {
  if (
    /field is immutable|may not change once set|updates to .* are forbidden|pod updates may not change/.test(
      message,
    )
  ) {
    return 'Delete the object first, or give it another name: this field cannot be changed on an existing one'
  }
  if (code === 404 && details?.kind === 'namespaces') {
    return `Add the Namespace ${metadata.namespace} to the manifests, or leave metadata.namespace out`
  }
  if (/field not declared in schema/.test(message)) {
    return 'Correct the name of the field, or the version in apiVersion: this version has no such field'
  }
  return undefined
}

function described(object: KubeObject): string {
  const origin = originOf(object)
  return origin ? `${nameOf(object)} (${origin})` : nameOf(object)
}

function throwFailures(failures: readonly unknown[]): void {
  if (failures.length === 0) return
  if (failures.length === 1) throw failures[0]
  throw new MayflyError(
    'APPLY_FAILED',
    `${failures.length} objects could not be applied:\n${failures.map((one) => `- ${messageOf(one)}`).join('\n')}`,
    {
      cause: new AggregateError(failures),
    },
  )
}
