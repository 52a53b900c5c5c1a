import { randomUUID } from 'node:crypto'
import { stringify } from 'yaml'
import { apiServerPort, controlPlaneHost } from './endpoints.ts'
import { nodeRegistration } from './kubeadm.ts'
import type { ClusterPlan, PlannedNode } from './plan.ts'
import type { SnapshotManifest } from './snapshot-manifest.ts'

/** An object for etcd: its key, and the object as the API server's storage reads it. */
export interface Seed {
  key: string
  value: object
}

/**
 * The objects that make a snapshot this cluster: its nodes with their subnets, so that nothing has to be handed out
 * first, and its certificate authority wherever pods and people look for it.
 */
export function seedObjects(plan: ClusterPlan, snapshot: SnapshotManifest, caPem: string): Seed[] {
  const created = new Date().toISOString().replace(/\.\d+Z$/, 'Z')
  // There are no nodes, and that controllers publish the authority shows that they run.
  if (plan.spec.controlPlaneOnly) return [clusterInfoSeed(caPem, created)]
  return [
    ...plan.nodes.map((node) => nodeSeed(plan, node, created)),
    ...snapshot.namespaces.map((namespace) =>
      configMapSeed(namespace, 'kube-root-ca.crt', { 'ca.crt': caPem }, created, {
        'kubernetes.io/description':
          'Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.',
      }),
    ),
    clusterInfoSeed(caPem, created),
  ]
}

/**
 * What a node has room for until its kubelet says what it has. A kubelet may be told of its pods before it has said so,
 * and refuses for good what does not fit.
 */
const presumedResources = { cpu: '8', memory: '8Gi', 'ephemeral-storage': '20Gi', pods: '110' }

/** Label and taint of control-plane nodes, as kubeadm sets them. */
const controlPlaneRole = 'node-role.kubernetes.io/control-plane'

function nodeSeed(plan: ClusterPlan, node: PlannedNode, created: string): Seed {
  const { spec, addresses, podCidrs } = node
  const registration = nodeRegistration(plan, node)
  const controlPlane = spec.role === 'control-plane'
  const tainted = controlPlane && plan.nodes.some((node) => node.spec.role === 'worker')
  const ordinaryTaints = tainted ? [{ key: controlPlaneRole, effect: 'NoSchedule' }] : []
  const taints = registration.taints ?? ordinaryTaints
  const labels = {
    'kubernetes.io/hostname': spec.name,
    'kubernetes.io/os': 'linux',
    ...(controlPlane && { [controlPlaneRole]: '' }),
    ...(tainted && { 'node.kubernetes.io/exclude-from-external-load-balancers': '' }),
    ...registration.labels,
    ...spec.labels,
  }
  return {
    key: `/registry/minions/${spec.name}`,
    value: {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: {
        name: spec.name,
        uid: randomUUID(),
        creationTimestamp: created,
        labels,
        annotations: { 'volumes.kubernetes.io/controller-managed-attach-detach': 'true' },
      },
      spec: {
        ...(podCidrs.length > 0 && { podCIDR: podCidrs[0], podCIDRs: podCidrs }),
        providerID: providerId(plan, spec.name),
        ...(taints.length > 0 && { taints }),
      },
      status: {
        addresses: [
          ...addresses.map((address) => ({ type: 'InternalIP', address })),
          { type: 'Hostname', address: spec.name },
        ],
        capacity: presumedResources,
        allocatable: presumedResources,
      },
    },
  }
}

/** The name of a node towards cloud-like controllers. */
export function providerId({ spec }: ClusterPlan, nodeName: string): string {
  return `mayfly://${spec.name}/${nodeName}`
}

function configMapSeed(
  namespace: string,
  name: string,
  entries: Record<string, string>,
  created: string,
  annotations?: Record<string, string>,
): Seed {
  return {
    key: `/registry/configmaps/${namespace}/${name}`,
    value: {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: {
        name,
        namespace,
        uid: randomUUID(),
        creationTimestamp: created,
        ...(annotations && { annotations }),
      },
      data: entries,
    },
  }
}

/** What `kubectl cluster-info` and joining nodes read without logging in. */
function clusterInfoSeed(caPem: string, created: string): Seed {
  const server = `https://${controlPlaneHost}:${apiServerPort}`
  const anonymous = stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [
      { name: '', cluster: { 'certificate-authority-data': Buffer.from(caPem).toString('base64'), server } },
    ],
  })
  return configMapSeed('kube-public', 'cluster-info', { kubeconfig: anonymous }, created)
}
