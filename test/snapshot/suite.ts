import { applyAll, type Kube, type KubeObject, patch, waitFor } from '../../src/kube/index.ts'

/** On every node of every cluster: busybox. */
const image = 'docker.io/mayfly/local-path-helper:v1'

/** A namespace. */
export function namespace(name: string): KubeObject {
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name } }
}

/** A pod's spec whose container does something. */
export function podSpec(command: string, more: object = {}): object {
  const container = { name: 'main', image, imagePullPolicy: 'IfNotPresent', command: ['sh', '-c', command] }
  return { containers: [container], ...more }
}

/** A Deployment of pods that ignore every signal that can be ignored. */
export function stubbornDeployment(name: string, namespace: string, replicas: number): KubeObject {
  const labels = { app: name }
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, namespace },
    spec: {
      replicas,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: podSpec("trap '' TERM INT HUP; while true; do sleep 1; done"),
      },
    },
  }
}

/** A definition of a kind without a schema, and one object of it that a finalizer keeps. */
export function heldCustomResource(plural: string, kind: string, namespace: string): KubeObject[] {
  return [
    {
      apiVersion: 'apiextensions.k8s.io/v1',
      kind: 'CustomResourceDefinition',
      metadata: { name: `${plural}.suite.example` },
      spec: {
        group: 'suite.example',
        names: { plural, kind },
        scope: 'Namespaced',
        versions: [
          {
            name: 'v1',
            served: true,
            storage: true,
            schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
          },
        ],
      },
    },
    {
      apiVersion: 'suite.example/v1',
      kind,
      metadata: { name: 'held', namespace, finalizers: ['suite.example/nobody-removes-this'] },
    },
  ]
}

/** What an ordinary suite leaves behind: the measured one. Its pods run when this returns. */
export async function ordinarySuite(kube: Kube): Promise<void> {
  const deployment = stubbornDeployment('web', 'shop', 5)
  await applyAll(
    kube,
    [
      namespace('shop'),
      ...heldCustomResource('widgets', 'Widget', 'shop'),
      {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name: 'web', namespace: 'shop' },
        spec: { type: 'NodePort', selector: { app: 'web' }, ports: [{ port: 80, nodePort: 30080 }] },
      },
      deployment,
    ],
    { timeoutMs: 60_000 },
  )
  await patch(
    kube,
    { apiVersion: 'apps/v1', kind: 'Deployment', name: 'coredns', namespace: 'kube-system' },
    {
      metadata: { labels: { 'suite.example/changed': 'yes' } },
      spec: { template: { metadata: { annotations: { 'suite.example/changed': 'yes' } } } },
    },
  )
  await waitFor(kube, deployment, { condition: 'Available' }, { timeoutMs: 60_000 })
}
