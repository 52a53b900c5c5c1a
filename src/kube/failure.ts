import { messageOf } from '../errors.ts'
import type { Kube } from './connection.ts'
import { find, list } from './crud.ts'
import { discoverKinds } from './discovery.ts'
import { eventOf, type KubeEvent } from './events.ts'
import { podLogs } from './logs.ts'
import { conditionsOf, type KubeCondition, type KubeObject, labelsMatch, nameOf } from './objects.ts'

/**
 * Why things don't work, as far as the API tells.
 *
 * @public
 */
export interface FailureReport {
  /** Objects that exist and have a condition that is not as it should be, or that were asked for. */
  objects: { name: string; object: KubeObject | undefined; conditions: KubeCondition[] }[]
  /** Pods that are not ready. */
  pods: PodReport[]
  /** Warnings, the oldest first. */
  events: KubeEvent[]
  /** All of it in brief, for people. */
  text: string
}

/**
 * How one pod is doing.
 *
 * @public
 */
export interface PodReport {
  name: string
  namespace: string
  node: string | undefined
  phase: string
  /** Conditions that are not as they should be. */
  conditions: KubeCondition[]
  containers: ContainerReport[]
}

/**
 * How one container of a pod is doing.
 *
 * @public
 */
export interface ContainerReport {
  name: string
  image: string
  ready: boolean
  restarts: number
  /** Such as `waiting: ImagePullBackOff: ...` or `terminated: Error: exit code 1`. */
  state: string
  /** How its last run ended, if there was one. */
  lastState: string | undefined
  /** The last lines that it wrote, of the run before if there is none now. Empty for a container that does well. */
  log: string
}

/**
 * How much is asked for.
 *
 * @public
 */
export interface DescribeFailureOptions {
  /** Log lines of each failing container; default 20. */
  logLines?: number
  signal?: AbortSignal | undefined
}

/**
 * Finds out why a namespace's objects, or the given ones and their pods, don't work.
 *
 * @param scope A namespace's name, or objects
 * @throws MayflyError `KUBE_REQUEST_FAILED` when the cluster does not answer
 * @public
 */
export async function describeFailure(
  kube: Kube,
  scope: string | readonly KubeObject[],
  { logLines = 20, signal }: DescribeFailureOptions = {},
): Promise<FailureReport> {
  const found =
    typeof scope === 'string' ? await unhealthyOf(kube, scope, signal) : await currentOf(kube, scope, signal)
  const namespaces =
    typeof scope === 'string'
      ? [scope]
      : [...new Set(scope.flatMap(({ metadata }) => metadata.namespace ?? []))]
  const everyone = await Promise.all(
    namespaces.map(async (namespace) => ({
      pods: await list(kube, { apiVersion: 'v1', kind: 'Pod' }, { namespace, signal }),
      events: await list(kube, { apiVersion: 'v1', kind: 'Event' }, { namespace, signal }),
    })),
  )
  const isConcerned = (pod: KubeObject) =>
    typeof scope === 'string' || found.some(({ object }) => object && isPodOf(pod, object))
  const concerned = everyone.flatMap(({ pods }) => pods.filter(isConcerned))
  const pods = await Promise.all(
    concerned.filter(isUnhealthy).map((pod) => reportPod(kube, pod, logLines, signal)),
  )
  const names = [
    ...found.flatMap(({ object }) => object?.metadata.name ?? []),
    ...concerned.flatMap((pod) => [pod.metadata.name ?? '', ...claimsOf(pod)]),
  ]
  const warnings = everyone
    .flatMap(({ events }) => events.map(eventOf))
    .filter(
      ({ type, about }) =>
        type === 'Warning' && (typeof scope === 'string' || names.some((name) => isAbout(about.name, name))),
    )
    .sort((a, b) => a.lastSeen.localeCompare(b.lastSeen))
  const report = { objects: found.filter(({ object }) => object?.kind !== 'Pod'), pods, events: warnings }
  return { ...report, text: formatFailure(report) }
}

/** A pod whose claim cannot be bound says nothing itself; only the events of the claim tell. */
function claimsOf({ spec }: KubeObject): string[] {
  const volumes: { persistentVolumeClaim?: { claimName: string } }[] = spec?.volumes ?? []
  return volumes.flatMap(({ persistentVolumeClaim }) => persistentVolumeClaim?.claimName ?? [])
}

/** An event about a ReplicaSet tells why its Deployment has no pods. */
function isAbout(eventName: string | undefined, name: string): boolean {
  return eventName === name || Boolean(eventName?.startsWith(`${name}-`))
}

async function currentOf(
  kube: Kube,
  objects: readonly KubeObject[],
  signal: AbortSignal | undefined,
): Promise<FailureReport['objects']> {
  return Promise.all(
    objects.map(async (object) => {
      const current = await find(kube, object, { signal })
      return { name: nameOf(object), object: current, conditions: current ? badConditions(current) : [] }
    }),
  )
}

/** Objects of a namespace, of whatever kind, that say themselves that something is wrong, and those that cannot go. */
async function unhealthyOf(
  kube: Kube,
  namespace: string,
  signal: AbortSignal | undefined,
): Promise<FailureReport['objects']> {
  const own = await find(kube, { apiVersion: 'v1', kind: 'Namespace', name: namespace }, { signal })
  const objects = await listNamespace(kube, namespace, signal)
  return [...(own ? [own] : []), ...objects]
    .map((object) => ({ name: nameOf(object), object, conditions: badConditions(object) }))
    .filter(
      ({ object, conditions }) =>
        object.kind !== 'Pod' && (conditions.length > 0 || object.metadata.deletionTimestamp),
    )
}

/**
 * Every object of a namespace, of every kind that can be listed, but events.
 *
 * @throws MayflyError `KUBE_REQUEST_FAILED` when the cluster does not answer; a kind that cannot be listed is left out
 * @public
 */
export async function listNamespace(
  kube: Kube,
  namespace: string,
  signal?: AbortSignal,
): Promise<KubeObject[]> {
  const kinds = await discoverKinds(kube, { refresh: true, signal })
  // A kind may be offered in several versions; the preferred one comes first.
  const distinct = new Map(
    kinds
      .filter(({ namespaced, verbs, kind }) => namespaced && verbs.includes('list') && kind !== 'Event')
      .reverse()
      .map((kind) => [`${kind.kind}.${kind.apiVersion.split('/').slice(0, -1)}`, kind] as const),
  )
  const lists = [...distinct.values()].reverse().map(async ({ apiVersion, kind }) => {
    try {
      return await list(kube, { apiVersion, kind }, { namespace, signal })
    } catch (thrown) {
      signal?.throwIfAborted()
      // An aggregated API whose server is down must not hide all the others.
      if (apiVersion === 'v1') throw thrown
      return []
    }
  })
  return (await Promise.all(lists)).flat()
}

/** Conditions that are bad when true; any other is bad when it is not. */
const negative =
  /Fail|Degraded|Stalled|Pressure|Unavailable|Error|DisruptionTarget|Suspended|Dangling|Remaining|Deadline|NonStructural/

function badConditions(object: KubeObject): KubeCondition[] {
  return conditionsOf(object).filter(({ type, status }) =>
    negative.test(type) || type.startsWith('Namespace') ? status === 'True' : status !== 'True',
  )
}

function isPodOf(pod: KubeObject, { kind, metadata, spec }: KubeObject): boolean {
  if (pod.metadata.namespace !== metadata.namespace) return false
  if (kind === 'Pod') return pod.metadata.name === metadata.name
  if (pod.metadata.ownerReferences?.some(({ uid }) => uid === metadata.uid)) return true
  const selector =
    spec?.selector?.matchLabels ??
    (kind === 'Service' || kind === 'ReplicationController' ? spec?.selector : undefined)
  return labelsMatch(selector, pod.metadata.labels)
}

function isUnhealthy(pod: KubeObject): boolean {
  if (pod.metadata.deletionTimestamp) return true
  if (pod.status?.phase === 'Succeeded') return false
  // A crashing container looks well for a moment after each of its restarts.
  return pod.status?.phase !== 'Running' || badConditions(pod).length > 0 || !containersOf(pod).every(isWell)
}

function containersOf({ status }: KubeObject): ContainerStatus[] {
  return [...(status?.initContainerStatuses ?? []), ...(status?.containerStatuses ?? [])]
}

async function reportPod(
  kube: Kube,
  pod: KubeObject,
  logLines: number,
  signal: AbortSignal | undefined,
): Promise<PodReport> {
  const { spec, status = {}, metadata } = pod
  const containers = await Promise.all(
    containersOf(pod).map(async (container) => ({
      name: container.name,
      image: container.image,
      ready: container.ready,
      restarts: container.restartCount,
      state: stateOf(container.state) ?? 'unknown',
      lastState: stateOf(container.lastState),
      log: isWell(container) ? '' : await logOf(kube, pod, container, logLines, signal),
    })),
  )
  return {
    name: metadata.name ?? '',
    namespace: metadata.namespace ?? '',
    node: spec?.nodeName,
    phase: metadata.deletionTimestamp ? 'Terminating' : (status.phase ?? 'unknown'),
    conditions: badConditions(pod),
    containers,
  }
}

interface ContainerState {
  waiting?: { reason?: string; message?: string }
  running?: object
  terminated?: { reason?: string; message?: string; exitCode: number; signal?: number }
}

interface ContainerStatus {
  name: string
  image: string
  ready: boolean
  restartCount: number
  state?: ContainerState
  lastState?: ContainerState
}

function isWell({ ready, state, restartCount }: ContainerStatus): boolean {
  return state?.terminated ? state.terminated.exitCode === 0 : ready && restartCount === 0
}

function stateOf({ waiting, running, terminated }: ContainerState = {}): string | undefined {
  if (waiting) return ['waiting', waiting.reason, waiting.message].filter(Boolean).join(': ')
  if (terminated)
    return [`terminated`, terminated.reason, `exit code ${terminated.exitCode}`, terminated.message]
      .filter(Boolean)
      .join(': ')
  return running ? 'running' : undefined
}

async function logOf(
  kube: Kube,
  pod: KubeObject,
  container: ContainerStatus,
  tailLines: number,
  signal: AbortSignal | undefined,
) {
  const { state, lastState } = container
  // A container that was never started has written nothing.
  if (!state?.running && !state?.terminated && !lastState?.terminated) return ''
  const options = { container: container.name, tailLines, signal }
  try {
    const current = state?.waiting ? '' : await podLogs(kube, pod, options)
    return (
      current.trim() || !lastState?.terminated
        ? current
        : await podLogs(kube, pod, { ...options, previous: true })
    ).trimEnd()
  } catch (thrown) {
    signal?.throwIfAborted()
    return `(no log: ${messageOf(thrown)})`
  }
}

function formatFailure({ objects, pods, events }: Omit<FailureReport, 'text'>): string {
  const paragraphs = [
    ...objects
      .filter(
        ({ object, conditions }) => !object || conditions.length > 0 || object.metadata.deletionTimestamp,
      )
      .map(({ name, object, conditions }) => [
        object ? name : `${name} does not exist`,
        ...deletionLines(object),
        ...conditions.map(conditionLine),
      ]),
    ...pods.map((pod) => [
      `Pod ${pod.namespace}/${pod.name}: ${pod.phase}${pod.node ? ` on ${pod.node}` : ''}`,
      // ContainersReady only repeats what Ready says.
      ...pod.conditions
        .filter(({ type, message }) => message && type !== 'ContainersReady')
        .map(conditionLine),
      ...pod.containers.flatMap(containerLines),
    ]),
    events.length > 0 ? ['Warnings', ...mergeEvents(events).slice(-20)] : [],
  ]
  return paragraphs
    .filter((lines) => lines.length > 0)
    .map((lines) => lines.join('\n  '))
    .join('\n')
}

function deletionLines(object: KubeObject | undefined): string[] {
  if (!object?.metadata.deletionTimestamp) return []
  const held = object.metadata.finalizers?.join(', ')
  return [`being deleted since ${object.metadata.deletionTimestamp}${held ? `, held by ${held}` : ''}`]
}

function conditionLine({ type, status, reason, message }: KubeCondition): string {
  return [`${type}=${status}`, reason, message].filter(Boolean).join(': ')
}

function containerLines({ name, image, ready, restarts, state, lastState, log }: ContainerReport): string[] {
  const facts = [
    state,
    !ready && state === 'running' && 'not ready',
    restarts > 0 && `${restarts} restarts`,
    lastState && `before: ${lastState}`,
  ]
  return [
    `container ${name} (${image}): ${facts.filter(Boolean).join(', ')}`,
    ...(log ? log.split('\n').map((line) => `  | ${line}`) : []),
  ]
}

/** One line for each kind of event and object, the number of times added up. */
function mergeEvents(events: readonly KubeEvent[]): string[] {
  const counts = new Map<string, number>()
  for (const { about, reason, message, count } of events) {
    const line = `${about.kind} ${about.name}: ${reason}: ${message}`
    counts.set(line, (counts.get(line) ?? 0) + count)
  }
  return [...counts].map(([line, count]) => (count > 1 ? `${line} (${count} times)` : line))
}
