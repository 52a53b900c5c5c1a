import { isDeepStrictEqual } from 'node:util'
import { stringify } from 'yaml'
import { messageOf } from '../errors.ts'
import { deadline, type WaitLimits, waitError } from '../wait.ts'
import type { Kube } from './connection.ts'
import { collectionPath, type LocatedObject, locate } from './discovery.ts'
import { jsonPath } from './jsonpath.ts'
import { conditionOf, conditionsOf, type KubeObject, type ObjectRef } from './objects.ts'
import { kubeStatus } from './status.ts'
import { watchList } from './watch.ts'

/**
 * What an object is waited for to be:
 *
 * - `{ condition: 'Ready' }`: that entry of `status.conditions` is `True`, or what `status` says;
 * - `{ jsonPath: '{.status.phase}', value: 'Running' }`: the path finds that value; without `value`, it finds anything;
 * - `'exists'`; `'deleted'`, also when another object has its name since, if the reference has a `metadata.uid`;
 * - a predicate, which may throw to say why not. An object that does not exist is never shown to it.
 *
 * @public
 */
export type WaitCondition<T extends object = KubeObject> =
  | { condition: string; status?: string }
  | { jsonPath: string; value?: unknown }
  | 'exists'
  | 'deleted'
  | ((object: T) => boolean | Promise<boolean>)

/**
 * How long to wait, and where.
 *
 * @public
 */
export interface WaitForLimits extends WaitLimits {
  /** For a reference that names none; default: the kubeconfig's own. */
  namespace?: string | undefined
}

/**
 * Waits, by watching, until an object is as asked for.
 *
 * @returns The object as it was then
 * @throws MayflyError `WAIT_TIMED_OUT` or `WAIT_ABORTED` with what was last seen of it, `KUBE_REQUEST_FAILED` when it cannot be watched
 * @public
 */
export async function waitFor(
  kube: Kube,
  ref: ObjectRef,
  condition: 'deleted',
  limits: WaitForLimits,
): Promise<void>
export async function waitFor<T extends object = KubeObject>(
  kube: Kube,
  ref: ObjectRef,
  condition: WaitCondition<T>,
  limits: WaitForLimits,
): Promise<T>
export async function waitFor<T extends object = KubeObject>(
  kube: Kube,
  ref: ObjectRef,
  condition: WaitCondition<T>,
  limits: WaitForLimits,
): Promise<T | undefined> {
  const limit = deadline(limits)
  const judge = judgeOf(condition, uidOf(ref))
  let located: LocatedObject | undefined
  let lastSeen = 'nothing'
  let cause: unknown
  try {
    located = await locate(kube, ref, limits.namespace, limit)
    const { resource, name, namespace } = located
    const watch = watchList(
      kube,
      { path: collectionPath(resource, namespace) },
      {
        fieldSelector: `metadata.name=${name}`,
        signal: limit,
        onTrouble(trouble) {
          lastSeen = messageOf(trouble)
          cause = trouble
        },
      },
    )
    for await (const { type, items } of watch) {
      const [now] = items.values()
      const verdict = await judge(now)
      if (verdict === true) return now as T | undefined
      lastSeen = now
        ? `${verdict}\n${summaryOf(now)}`
        : `no such object${type === 'DELETED' ? ', it was deleted' : ''}`
      cause = undefined
    }
  } catch (thrown) {
    if (!limit.aborted) {
      // With its definition gone, so is the object.
      if (condition === 'deleted' && kubeStatus(thrown)?.code === 404) return
      throw thrown
    }
  }
  const label = located?.label ?? (typeof ref === 'string' ? ref : 'an object')
  throw waitError(`${label} ${describeCondition(condition)}`, lastSeen, limits, cause)
}

/** Says `true`, or what is missing. */
type Judge = (object: KubeObject | undefined) => true | string | Promise<true | string>

function uidOf(ref: ObjectRef): string | undefined {
  return typeof ref === 'object' && 'metadata' in ref ? (ref as Partial<KubeObject>).metadata?.uid : undefined
}

/** @param uid Of the object that is meant: one that took its name afterwards is another one */
function judgeOf<T extends object>(condition: WaitCondition<T>, uid: string | undefined): Judge {
  if (condition === 'deleted') {
    return (object) => !object || (uid !== undefined && object.metadata.uid !== uid) || 'it exists'
  }
  if (condition === 'exists') return (object) => Boolean(object) || 'it does not exist'
  if (typeof condition === 'function') {
    return async (object) => {
      if (!object) return 'it does not exist'
      try {
        return (await condition(object as unknown as T)) || 'the predicate said no'
      } catch (thrown) {
        return messageOf(thrown)
      }
    }
  }
  if ('jsonPath' in condition) {
    return (object) => {
      const found = object ? jsonPath(condition.jsonPath, object) : []
      const fits =
        'value' in condition ? found.some((one) => isDeepStrictEqual(one, condition.value)) : found.length > 0
      return (
        fits ||
        `${condition.jsonPath} is ${found.length > 0 ? found.map((one) => JSON.stringify(one)).join(', ') : 'not there'}`
      )
    }
  }
  const { condition: type, status = 'True' } = condition
  return (object) => {
    if (!object) return 'it does not exist'
    const seen = conditionOf(object, type)
    if (!seen) return `no condition ${type}`
    // A condition that was computed for an older spec says nothing about this one.
    if (
      seen.observedGeneration !== undefined &&
      seen.observedGeneration < (object.metadata.generation ?? 0)
    ) {
      return `condition ${type} is ${seen.status} for generation ${seen.observedGeneration} of ${object.metadata.generation}`
    }
    if (seen.status === status) return true
    return `condition ${type} is ${[seen.status, seen.reason, seen.message].filter(Boolean).join(': ')}`
  }
}

function describeCondition<T extends object>(condition: WaitCondition<T>): string {
  if (condition === 'deleted') return 'to be deleted'
  if (condition === 'exists') return 'to exist'
  if (typeof condition === 'function')
    return `to meet ${condition.name || condition.toString().slice(0, 200)}`
  if ('jsonPath' in condition) {
    return `to have ${condition.jsonPath}${'value' in condition ? ` = ${JSON.stringify(condition.value)}` : ''}`
  }
  return `to have condition ${condition.condition}=${condition.status ?? 'True'}`
}

/** What of an object tells how it is doing: who holds its deletion, and its status. */
function summaryOf(object: KubeObject): string {
  const { deletionTimestamp, finalizers, generation } = object.metadata
  const status = object.status && {
    ...object.status,
    ...(conditionsOf(object).length > 0 && {
      conditions: conditionsOf(object).map(({ lastTransitionTime: _, ...rest }) => rest),
    }),
  }
  return stringify({
    ...(deletionTimestamp && { deletionTimestamp, finalizers }),
    ...(generation !== undefined && { generation }),
    status: status ?? '(none)',
  }).trimEnd()
}
