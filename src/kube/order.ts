import { groupOf, type KubeObject } from './objects.ts'

/** A step of {@link applyOrder}. */
export interface ApplyStage {
  name: string
  /** `Kind` of the core group, or `Kind.group`, of what belongs here. */
  kinds: readonly string[]
  /** The condition that each object must have before the next stage begins. */
  until?: string
}

/**
 * The order in which objects are applied, so that whatever an object needs at its creation is there. Objects of one stage are applied
 * at the same time. Kinds that are named nowhere, which are custom resources for the most part, belong to the stage `others`.
 */
export const applyOrder: readonly ApplyStage[] = [
  { name: 'namespaces', kinds: ['Namespace'] },
  { name: 'definitions', kinds: ['CustomResourceDefinition.apiextensions.k8s.io'], until: 'Established' },
  {
    // Classes, quotas and accounts are looked at by admission when a pod or claim is created.
    name: 'ground',
    kinds: [
      'PriorityClass.scheduling.k8s.io',
      'RuntimeClass.node.k8s.io',
      'StorageClass.storage.k8s.io',
      'CSIDriver.storage.k8s.io',
      'IngressClass.networking.k8s.io',
      'DeviceClass.resource.k8s.io',
      'LimitRange',
      'ResourceQuota',
      'ServiceAccount',
      'ClusterRole.rbac.authorization.k8s.io',
      'Role.rbac.authorization.k8s.io',
      'NetworkPolicy.networking.k8s.io',
    ],
  },
  {
    // Bindings after roles: the API server checks that the one who binds has every right of the role. Secrets after
    // accounts: a token Secret without its account is thrown away.
    name: 'configuration',
    kinds: [
      'Secret',
      'ConfigMap',
      'ClusterRoleBinding.rbac.authorization.k8s.io',
      'RoleBinding.rbac.authorization.k8s.io',
      'PersistentVolume',
      'PersistentVolumeClaim',
    ],
  },
  {
    // Before the pods, which get the addresses of Services as environment variables.
    name: 'services',
    kinds: ['Service', 'Endpoints', 'EndpointSlice.discovery.k8s.io'],
  },
  {
    name: 'workloads',
    kinds: [
      'Pod',
      'ReplicationController',
      'ReplicaSet.apps',
      'Deployment.apps',
      'StatefulSet.apps',
      'DaemonSet.apps',
      'Job.batch',
      'CronJob.batch',
      'PodDisruptionBudget.policy',
      'HorizontalPodAutoscaler.autoscaling',
      'Ingress.networking.k8s.io',
    ],
  },
  { name: 'others', kinds: [] },
  { name: 'API services', kinds: ['APIService.apiregistration.k8s.io'] },
  {
    // Last, for they may refuse anything before their own workload runs.
    name: 'admission',
    kinds: [
      'ValidatingAdmissionPolicy.admissionregistration.k8s.io',
      'MutatingAdmissionPolicy.admissionregistration.k8s.io',
      'ValidatingAdmissionPolicyBinding.admissionregistration.k8s.io',
      'MutatingAdmissionPolicyBinding.admissionregistration.k8s.io',
      'ValidatingWebhookConfiguration.admissionregistration.k8s.io',
      'MutatingWebhookConfiguration.admissionregistration.k8s.io',
    ],
  },
]

const stageOfKind = new Map(
  applyOrder.flatMap((stage, index) => stage.kinds.map((kind) => [kind, index] as const)),
)
const others = applyOrder.findIndex((stage) => stage.kinds.length === 0)

/** Objects by stage, empty stages left out, each stage's objects in the order in which they were given. */
export function inApplyOrder<T extends KubeObject>(
  objects: readonly T[],
): { stage: ApplyStage; objects: T[] }[] {
  return applyOrder
    .map((stage, index) => ({ stage, objects: objects.filter((object) => stageIndexOf(object) === index) }))
    .filter(({ objects }) => objects.length > 0)
}

function stageIndexOf({ apiVersion, kind }: KubeObject): number {
  return stageOfKind.get(groupOf(apiVersion) ? `${kind}.${groupOf(apiVersion)}` : kind) ?? others
}
