import { collectionPath } from './discovery.ts'
import { conditionOf, groupOf, type KubeObject, labelsMatch } from './objects.ts'

/**
 * Whether an object does its work. `waiting` may pass, `failed` will not.
 *
 * @public
 */
export type Availability = 'available' | { waiting: string } | { failed: string }

/** The live objects of a collection, by its path. */
export type Look = (path: string) => readonly KubeObject[]

/** How a kind is judged. */
export interface AvailabilityRule {
  /** Paths of other collections that the judgement looks at. */
  needs?(object: KubeObject): string[]
  /** `applied` are all objects that are waited for together. */
  judge(object: KubeObject, look: Look, applied: readonly KubeObject[]): Availability
}

const endpointSlices = { apiVersion: 'discovery.k8s.io/v1', plural: 'endpointslices', namespaced: true }
const storageClasses = { apiVersion: 'storage.k8s.io/v1', plural: 'storageclasses', namespaced: false }

/**
 * How it is told that an object is available, by `Kind` of the core group or `Kind.group`. An object of any other kind is available when it
 * exists; what its conditions mean is known only to its author, for which there is `waitFor`.
 */
const rules: Record<string, AvailabilityRule> = {
  Namespace: { judge: ({ status }) => when(status?.phase === 'Active', `its phase is ${status?.phase}`) },
  Node: byCondition('Ready'),
  Pod: { judge: judgePod },
  PersistentVolumeClaim: { needs: () => [collectionPath(storageClasses)], judge: judgeClaim },
  Service: {
    needs: ({ metadata }) => [collectionPath(endpointSlices, metadata.namespace)],
    judge: judgeService,
  },
  ReplicationController: { judge: judgeReplicas },
  'ReplicaSet.apps': { judge: judgeReplicas },
  'Deployment.apps': { judge: judgeDeployment },
  'StatefulSet.apps': { judge: judgeStatefulSet },
  'DaemonSet.apps': { judge: judgeDaemonSet },
  'Job.batch': { judge: judgeJob },
  'CustomResourceDefinition.apiextensions.k8s.io': byCondition('Established'),
  'APIService.apiregistration.k8s.io': byCondition('Available'),
  'ValidatingWebhookConfiguration.admissionregistration.k8s.io': {
    needs: webhookNeeds,
    judge: judgeWebhooks,
  },
  'MutatingWebhookConfiguration.admissionregistration.k8s.io': { needs: webhookNeeds, judge: judgeWebhooks },
}

/** The rule for an object's kind, if it has one. */
export function availabilityRule({
  apiVersion,
  kind,
}: Pick<KubeObject, 'apiVersion' | 'kind'>): AvailabilityRule | undefined {
  const group = groupOf(apiVersion)
  return rules[group ? `${kind}.${group}` : kind]
}

/** Kinds that are available by the pods that they have. */
const podKinds = [
  'Pod',
  'Node',
  'Service',
  'ReplicationController',
  'ReplicaSet.apps',
  'Deployment.apps',
  'StatefulSet.apps',
  'DaemonSet.apps',
  'Job.batch',
]

/** Whether an object can only become available where pods run. Pure. */
export function needsPods({ apiVersion, kind, spec }: KubeObject): boolean {
  const group = groupOf(apiVersion)
  if (kind === 'Service' && !spec?.selector) return false
  return podKinds.includes(group ? `${kind}.${group}` : kind) && spec?.replicas !== 0
}

function when(available: boolean, otherwise: string): Availability {
  return available ? 'available' : { waiting: otherwise }
}

function byCondition(type: string): AvailabilityRule {
  return {
    judge(object) {
      const condition = conditionOf(object, type)
      return when(
        condition?.status === 'True',
        condition
          ? [`${type} is ${condition.status}`, condition.reason, condition.message].filter(Boolean).join(': ')
          : `it has no condition ${type} yet`,
      )
    },
  }
}

/** The controller has not looked at the newest spec yet, so the status is about an older one. */
function unobserved({ metadata, status }: KubeObject): boolean {
  return (status?.observedGeneration ?? 0) < (metadata.generation ?? 0)
}

function judgeDeployment(object: KubeObject): Availability {
  const { spec, status = {} } = object
  const wanted = spec?.replicas ?? 1
  const { replicas = 0, updatedReplicas = 0, availableReplicas = 0 } = status
  if (unobserved(object)) return { waiting: 'its controller has not seen it yet' }
  if (updatedReplicas < wanted)
    return { waiting: `${updatedReplicas} of ${wanted} replicas are updated${stuck(object)}` }
  if (replicas > updatedReplicas)
    return { waiting: `${replicas - updatedReplicas} old replicas are still there` }
  return when(
    availableReplicas >= wanted,
    `${availableReplicas} of ${wanted} replicas are available${stuck(object)}`,
  )
}

/** What the deployment controller says about replicas that it cannot make or that take too long. */
function stuck(object: KubeObject): string {
  const failure = conditionOf(object, 'ReplicaFailure')
  if (failure?.status === 'True') return ` (${failure.message})`
  const progress = conditionOf(object, 'Progressing')
  return progress?.status === 'False' ? ` (${progress.message})` : ''
}

function judgeStatefulSet(object: KubeObject): Availability {
  const { spec, status = {} } = object
  const wanted = spec?.replicas ?? 1
  const { updatedReplicas = 0, availableReplicas = 0 } = status
  if (unobserved(object)) return { waiting: 'its controller has not seen it yet' }
  const rolled =
    spec?.updateStrategy?.type === 'OnDelete'
      ? 0
      : wanted - (spec?.updateStrategy?.rollingUpdate?.partition ?? 0)
  if (updatedReplicas < rolled) return { waiting: `${updatedReplicas} of ${rolled} replicas are updated` }
  return when(availableReplicas >= wanted, `${availableReplicas} of ${wanted} replicas are available`)
}

function judgeDaemonSet(object: KubeObject): Availability {
  const {
    desiredNumberScheduled: wanted = 0,
    updatedNumberScheduled = 0,
    numberAvailable = 0,
  } = object.status ?? {}
  if (unobserved(object)) return { waiting: 'its controller has not seen it yet' }
  if (object.spec?.updateStrategy?.type !== 'OnDelete' && updatedNumberScheduled < wanted) {
    return { waiting: `${updatedNumberScheduled} of ${wanted} pods are updated` }
  }
  return when(numberAvailable >= wanted, `${numberAvailable} of ${wanted} pods are available`)
}

function judgeReplicas(object: KubeObject): Availability {
  const wanted = object.spec?.replicas ?? 1
  const available = object.status?.availableReplicas ?? 0
  if (unobserved(object)) return { waiting: 'its controller has not seen it yet' }
  return when(available >= wanted, `${available} of ${wanted} replicas are available`)
}

function judgeJob(object: KubeObject): Availability {
  const failure = conditionOf(object, 'Failed')
  if (failure?.status === 'True')
    return { failed: [failure.reason, failure.message].filter(Boolean).join(': ') }
  const { spec, status } = object
  if (spec?.suspend || conditionOf(object, 'Complete')?.status === 'True') return 'available'
  return {
    waiting: `${status?.succeeded ?? 0} of ${spec?.completions ?? 1} pods have succeeded, ${status?.failed ?? 0} failed`,
  }
}

function judgePod(object: KubeObject): Availability {
  const phase = object.status?.phase
  if (phase === 'Succeeded') return 'available'
  if (phase === 'Failed')
    return {
      failed:
        [object.status?.reason, object.status?.message].filter(Boolean).join(': ') || 'a container failed',
    }
  const ready = conditionOf(object, 'Ready')
  if (ready?.status === 'True') return 'available'
  const scheduled = conditionOf(object, 'PodScheduled')
  const reason = scheduled?.status === 'False' ? scheduled.message : ready?.message
  return { waiting: [`its phase is ${phase}`, reason].filter(Boolean).join(': ') }
}

function judgeClaim({ spec, status }: KubeObject, look: Look): Availability {
  if (status?.phase === 'Bound') return 'available'
  const storageClass = look(collectionPath(storageClasses)).find(
    ({ metadata }) => metadata.name === spec?.storageClassName,
  )
  // Such a claim is bound when the first pod uses it, which may never be meant to happen.
  if (storageClass?.['volumeBindingMode'] === 'WaitForFirstConsumer') return 'available'
  const missing =
    spec?.storageClassName && !storageClass ? `; there is no StorageClass ${spec.storageClassName}` : ''
  return { waiting: `its phase is ${status?.phase ?? 'unknown'}${missing}` }
}

function judgeService(
  { metadata, spec }: KubeObject,
  look: Look,
  applied: readonly KubeObject[],
): Availability {
  if (spec?.type === 'ExternalName' || !spec?.selector) return 'available'
  if (hasReadyEndpoint(look, metadata.namespace, metadata.name)) return 'available'
  const behind = applied.filter(
    (object) =>
      object.metadata.namespace === metadata.namespace &&
      labelsMatch(spec.selector, object.spec?.template?.metadata?.labels),
  )
  // Scaled to nothing on purpose.
  if (behind.length > 0 && behind.every((object) => object.spec?.replicas === 0)) return 'available'
  const selector = Object.entries(spec.selector).map(([key, value]) => `${key}=${value}`)
  return { waiting: `it has no ready endpoint; it selects pods with ${selector.join(',')}` }
}

function hasReadyEndpoint(look: Look, namespace: string | undefined, service: string | undefined): boolean {
  return look(collectionPath(endpointSlices, namespace)).some(
    (slice) =>
      slice.metadata.labels?.['kubernetes.io/service-name'] === service &&
      slice['endpoints']?.some(
        (endpoint: { conditions?: { ready?: boolean } }) => endpoint.conditions?.ready !== false,
      ),
  )
}

interface Webhook {
  name: string
  clientConfig: { caBundle?: string; url?: string; service?: { namespace: string; name: string } }
}

function webhooksOf(object: KubeObject): Webhook[] {
  return object['webhooks'] ?? []
}

function webhookNeeds(object: KubeObject): string[] {
  return webhooksOf(object).flatMap(({ clientConfig: { service } }) =>
    service ? [collectionPath(endpointSlices, service.namespace)] : [],
  )
}

function judgeWebhooks(object: KubeObject, look: Look): Availability {
  for (const { name, clientConfig } of webhooksOf(object)) {
    const { service, caBundle } = clientConfig
    if (!service) continue
    if (!caBundle) return { waiting: `webhook ${name} has no caBundle` }
    if (!hasReadyEndpoint(look, service.namespace, service.name)) {
      return {
        waiting: `webhook ${name} has no ready endpoint behind Service ${service.namespace}/${service.name}`,
      }
    }
  }
  return 'available'
}
