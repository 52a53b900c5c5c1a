import { randomInt, randomUUID } from 'node:crypto'
import type { KubeObject } from '../kube/index.ts'
import { type ClusterPlan, controlPlanes, type PlannedNode } from './plan.ts'
import type { PodTemplate, SnapshotManifest } from './snapshot-manifest.ts'

/** What stands in a pod template for what differs between pods. */
const placeholders = {
  name: '@POD_NAME@',
  uid: '@POD_UID@',
  node: '@NODE_NAME@',
  created: '@CREATED@',
} as const

/** A pod as far as a template is made of it. */
type Pod = KubeObject & {
  metadata: { generateName?: string; ownerReferences?: { kind: string; name: string }[] }
  spec: Record<string, unknown> & { nodeName?: string }
  status?: { qosClass?: string }
}

/**
 * Makes templates of the pods that workloads of a baked cluster have, one for each workload: a cluster that starts with
 * its pods in place waits neither for controllers to create nor for the scheduler to place them.
 */
export function podTemplates(pods: readonly KubeObject[]): { template: PodTemplate; text: string }[] {
  const staying = (pods as Pod[]).filter(({ metadata }) => metadata.deletionTimestamp === undefined)
  const byOwner = Map.groupBy(staying, ({ metadata }) => {
    const owner = metadata.ownerReferences?.[0]
    return owner && owner.kind !== 'Node' ? `${owner.kind}/${metadata.namespace}/${owner.name}` : ''
  })
  return [...byOwner].flatMap(([owner, [pod, ...others]]) => {
    if (owner === '' || !pod) return []
    const [kind, namespace = '', name = ''] = owner.split('/')
    const prefix = pod.metadata.generateName ?? `${name}-`
    const template = { name, namespace, prefix, perNode: kind === 'DaemonSet', replicas: others.length + 1 }
    return [{ template, text: JSON.stringify(templateOf(pod)) }]
  })
}

function templateOf({ apiVersion, kind, metadata, spec, status }: Pod): object {
  const { labels, annotations, namespace, generateName, ownerReferences } = metadata
  return {
    apiVersion,
    kind,
    metadata: {
      name: placeholders.name,
      generateName,
      namespace,
      uid: placeholders.uid,
      creationTimestamp: placeholders.created,
      labels,
      ...(annotations && { annotations }),
      ownerReferences,
    },
    spec: onAnyNode(spec),
    status: {
      phase: 'Pending',
      qosClass: status?.qosClass,
      conditions: [
        {
          type: 'PodScheduled',
          status: 'True',
          lastProbeTime: null,
          lastTransitionTime: placeholders.created,
        },
      ],
    },
  }
}

/** The DaemonSet controller ties each pod to its node by an affinity for the node's name, beside `nodeName`. */
function onAnyNode(spec: Pod['spec']): object {
  const { nodeName = '' } = spec
  return JSON.parse(
    JSON.stringify(spec).replaceAll(JSON.stringify(nodeName), JSON.stringify(placeholders.node)),
  ) as object
}

/** One pod to be written into etcd from a template. */
export interface SeededPod {
  /** Name of the template. */
  template: string
  key: string
  values: Record<string, string>
}

/** The pods that a cluster starts with: of a DaemonSet one on each node, all others on the first control plane. */
export function seededPods(plan: ClusterPlan, { pods }: SnapshotManifest): SeededPod[] {
  const [first] = controlPlanes(plan.nodes)
  if (!first) return []
  const created = new Date().toISOString().replace(/\.\d+Z$/, 'Z')
  return pods.flatMap((template) => {
    const nodes = template.perNode ? plan.nodes : Array.from({ length: template.replicas }, () => first)
    return nodes.map((node) => seededPod(template, node, created))
  })
}

function seededPod(
  { name: template, namespace, prefix }: PodTemplate,
  node: PlannedNode,
  created: string,
): SeededPod {
  const name = prefix + randomSuffix()
  const values: Record<keyof typeof placeholders, string> = {
    name,
    uid: randomUUID(),
    node: node.spec.name,
    created,
  }
  return {
    template,
    key: `/registry/pods/${namespace}/${name}`,
    values: Object.fromEntries(
      Object.entries(values).map(([what, value]) => [placeholders[what as keyof typeof placeholders], value]),
    ),
  }
}

/** Five characters as Kubernetes' own name generator draws them: no vowels, no look-alikes. */
function randomSuffix(): string {
  const alphabet = 'bcdfghjklmnpqrstvwxz2456789'
  return Array.from({ length: 5 }, () => alphabet[randomInt(alphabet.length)]).join('')
}
