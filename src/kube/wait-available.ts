import { MayflyError, messageOf } from '../errors.ts'
import { deadline, type WaitLimits, waitError } from '../wait.ts'
import { type Availability, type AvailabilityRule, availabilityRule, needsPods } from './availability.ts'
import type { Kube } from './connection.ts'
import { collectionPath, type LocatedObject, locate } from './discovery.ts'
import { describeFailure } from './failure.ts'
import { type KubeObject, nameOf } from './objects.ts'
import { controlPlaneOnlyError } from './pods-run.ts'
import { watchList } from './watch.ts'

interface Pending {
  object: KubeObject
  located: LocatedObject
  rule: AvailabilityRule
}

/**
 * Waits, by watching, until all objects are available at the same time: workloads rolled out and their pods available, Jobs
 * complete, Services with ready endpoints, claims bound (unless their class binds for the first consumer), definitions
 * established, APIServices available, webhooks with certificates and ready endpoints. Objects of other kinds count as available.
 *
 * @throws MayflyError `CONTROL_PLANE_ONLY` at once, for what needs pods in a cluster without nodes; `WAIT_TIMED_OUT` or `WAIT_ABORTED` with each object that is not available, and why: conditions, states and last log
 *   lines of containers, events; `KUBE_OBJECT_FAILED` with the same, at once, when a Job or pod has failed for good
 * @public
 */
export async function waitAvailable(
  kube: Kube,
  objects: readonly KubeObject[],
  limits: WaitLimits & { namespace?: string | undefined },
): Promise<void> {
  const needy = kube.controlPlaneOnly ? objects.find(needsPods) : undefined
  if (needy) throw controlPlaneOnlyError(`wait until ${nameOf(needy)} is available`)
  const limit = deadline(limits)
  const unavailable = new Map<KubeObject, Exclude<Availability, 'available'>>()
  let trouble: unknown
  try {
    const pending = await pendingOf(kube, objects, limits.namespace, limit)
    const live = new Map<string, ReadonlyMap<string, KubeObject>>()
    for (const { object } of pending) unavailable.set(object, { waiting: 'it was not looked at yet' })
    const paths = pathsOf(pending)
    for await (const [path, items] of watchAll(kube, paths, limit, (error) => {
      trouble = error
    })) {
      trouble = undefined
      live.set(path, items)
      if (live.size < paths.length) continue
      judgeAll(pending, live, unavailable)
      for (const [object, verdict] of unavailable) {
        if ('failed' in verdict) throw await failed(kube, object, verdict.failed)
      }
      if (unavailable.size === 0) return
    }
    if (paths.length === 0) return
  } catch (thrown) {
    if (!limit.aborted || thrown instanceof MayflyError) throw thrown
  }
  const seen = [...unavailable].map(
    ([object, verdict]) => `- ${nameOf(object)}: ${'waiting' in verdict ? verdict.waiting : verdict.failed}`,
  )
  const { text } = await describeBriefly(kube, [...unavailable.keys()])
  const lastSeen = [trouble && messageOf(trouble), ...seen, text].filter(Boolean).join('\n')
  const what =
    objects.length === 1 && objects[0]
      ? `${nameOf(objects[0])} to be available`
      : `${objects.length} objects to be available`
  throw waitError(what, `${unavailable.size} not available\n${lastSeen}`, limits, trouble)
}

async function pendingOf(
  kube: Kube,
  objects: readonly KubeObject[],
  namespace: string | undefined,
  signal: AbortSignal,
): Promise<Pending[]> {
  const pending = objects.map(async (object) => {
    const rule = availabilityRule(object)
    if (!rule) return []
    const located = await locate(kube, object, namespace, signal)
    const placed = {
      ...object,
      metadata: { ...object.metadata, ...(located.namespace && { namespace: located.namespace }) },
    }
    return [{ object: placed, located, rule }]
  })
  return (await Promise.all(pending)).flat()
}

function ownPath({ located }: Pending): string {
  return collectionPath(located.resource, located.namespace)
}

function pathsOf(pending: readonly Pending[]): string[] {
  return [...new Set(pending.flatMap((one) => [ownPath(one), ...(one.rule.needs?.(one.object) ?? [])]))]
}

function judgeAll(
  pending: readonly Pending[],
  live: ReadonlyMap<string, ReadonlyMap<string, KubeObject>>,
  unavailable: Map<KubeObject, Exclude<Availability, 'available'>>,
): void {
  const applied = pending.map(({ object }) => object)
  const look = (path: string) => [...(live.get(path)?.values() ?? [])]
  unavailable.clear()
  for (const one of pending) {
    const current = live.get(ownPath(one))?.get(`${one.located.namespace ?? ''}/${one.located.name}`)
    const verdict = current ? one.rule.judge(current, look, applied) : { waiting: 'it does not exist' }
    if (verdict !== 'available') unavailable.set(one.object, verdict)
  }
}

/** The collections of all paths, each again whenever it changes. */
async function* watchAll(
  kube: Kube,
  paths: readonly string[],
  signal: AbortSignal,
  onTrouble: (trouble: unknown) => void,
) {
  const ended = new AbortController()
  const limit = AbortSignal.any([signal, ended.signal])
  const watches = paths.map((path) => ({
    path,
    steps: watchList(kube, { path }, { signal: limit, onTrouble }),
  }))
  const next = (watch: (typeof watches)[number]) => {
    const coming = watch.steps.next().then((step) => ({ watch, step }))
    // It may fail while the caller is busy with another step; the race below tells it then.
    coming.catch(() => undefined)
    return coming
  }
  const coming = new Map(watches.map((watch) => [watch, next(watch)]))
  try {
    while (coming.size > 0) {
      const { watch, step } = await Promise.race(coming.values())
      if (step.done) coming.delete(watch)
      else {
        coming.set(watch, next(watch))
        yield [watch.path, step.value.items] as const
      }
    }
  } finally {
    ended.abort()
    await Promise.allSettled(coming.values())
  }
}

async function failed(kube: Kube, object: KubeObject, why: string): Promise<MayflyError> {
  const { text } = await describeBriefly(kube, [object])
  return new MayflyError(
    'KUBE_OBJECT_FAILED',
    `${nameOf(object)} failed and will not become available: ${why}`,
    { output: text },
  )
}

/** The reason why the wait ended must not be lost because the cluster is too broken to be asked. */
async function describeBriefly(kube: Kube, objects: readonly KubeObject[]): Promise<{ text: string }> {
  try {
    return await describeFailure(kube, objects, { signal: AbortSignal.timeout(5000) })
  } catch (thrown) {
    return { text: `(no more is known: ${messageOf(thrown)})` }
  }
}
