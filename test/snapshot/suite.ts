import { readFile } from 'node:fs/promises'
import { setTimeout } from 'node:timers/promises'
import { connectEngine, inspectContainer } from '../../src/engine/index.ts'
import type { Cluster } from '../../src/index.ts'
import { applyAll, type Kube, type KubeObject, patch, waitFor } from '../../src/kube/index.ts'

/** On every node of every cluster: busybox. */
const image = 'docker.io/mayfly/local-path-helper:v1'

/** The manifest of a component's static pod with one flag more. */
export function withFlag(manifest: string, component: string, flag: string): string {
  return manifest.replace(new RegExp(`^( *- )${component}\n`, 'm'), `$&$1${flag}\n`)
}

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
export function stubbornDeployment(
  name: string,
  namespace: string,
  replicas: number,
  more: object = {},
): KubeObject {
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
        spec: podSpec("trap '' TERM INT HUP; while true; do sleep 1; done", more),
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

/** What suites do to clusters that the next suite must not notice. */
export const faults: Record<string, (cluster: Cluster) => Promise<void>> = {
  async 'deletes every pod and every right of kube-system'({ kube }) {
    await kube.request('DELETE', '/api/v1/namespaces/kube-system/pods', { query: { gracePeriodSeconds: 0 } })
    const rbac = '/apis/rbac.authorization.k8s.io/v1'
    for (const plural of ['clusterrolebindings', 'clusterroles'])
      await kube.request('DELETE', `${rbac}/${plural}`)
    for (const plural of ['rolebindings', 'roles']) {
      await kube.request('DELETE', `${rbac}/namespaces/kube-system/${plural}`)
    }
    for (const namespace of ['default', 'kube-system']) {
      await kube.request('DELETE', `/api/v1/namespaces/${namespace}/serviceaccounts`)
    }
  },
  async 'deletes the workloads of kube-system'({ kube }) {
    for (const plural of ['deployments', 'daemonsets']) {
      await kube.request('DELETE', `/apis/apps/v1/namespaces/kube-system/${plural}`)
    }
    await kube.request('DELETE', '/api/v1/namespaces/kube-system/services/kube-dns')
    await kube.request('DELETE', '/api/v1/namespaces/kube-system/configmaps')
  },
  async 'cordons, taints, labels and enriches nodes'({ kube, nodes }) {
    for (const { name } of nodes) {
      await patch(
        kube,
        { apiVersion: 'v1', kind: 'Node', name },
        {
          metadata: {
            labels: { suite: 'yes' },
            annotations: { suite: 'yes' },
            finalizers: ['suite.example/held'],
          },
          spec: { unschedulable: true, taints: [{ key: 'suite', effect: 'NoExecute' }] },
        },
      )
      await patch(
        kube,
        { apiVersion: 'v1', kind: 'Node', name },
        {
          status: { capacity: { 'suite.example/gpu': '4' }, conditions: [{ type: 'Suite', status: 'True' }] },
        },
        { subresource: 'status', type: 'strategic' },
      )
    }
  },
  async 'deletes the Node of a worker'({ kube, nodes }) {
    await kube.request('DELETE', `/api/v1/nodes/${nodes.at(-1)?.name}`)
  },
  async 'lets a webhook that is nowhere answer for everything'({ kube }) {
    await applyAll(
      kube,
      [
        {
          apiVersion: 'admissionregistration.k8s.io/v1',
          kind: 'ValidatingWebhookConfiguration',
          metadata: { name: 'nowhere' },
          webhooks: [
            {
              name: 'nowhere.suite.example',
              clientConfig: { url: 'https://127.0.0.1:1/' },
              rules: [{ apiGroups: ['*'], apiVersions: ['*'], operations: ['*'], resources: ['*/*'] }],
              admissionReviewVersions: ['v1'],
              sideEffects: 'None',
              failurePolicy: 'Fail',
            },
          ],
        },
      ],
      { timeoutMs: 10_000 },
    )
  },
  async 'installs an APIService that leads nowhere, and leaves a namespace that can not end'({ kube }) {
    await applyAll(
      kube,
      [
        namespace('stuck'),
        {
          apiVersion: 'v1',
          kind: 'Service',
          metadata: { name: 'nowhere', namespace: 'stuck' },
          spec: { ports: [{ port: 443 }] },
        },
        {
          apiVersion: 'apiregistration.k8s.io/v1',
          kind: 'APIService',
          metadata: { name: 'v1.nowhere.example' },
          spec: {
            group: 'nowhere.example',
            version: 'v1',
            service: { name: 'nowhere', namespace: 'stuck' },
            insecureSkipTLSVerify: true,
            groupPriorityMinimum: 100,
            versionPriority: 100,
          },
        },
      ],
      { timeoutMs: 10_000 },
    )
    await kube.request('DELETE', '/api/v1/namespaces/stuck')
  },
  async 'leaves volumes with data'({ kube }) {
    const claim = {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name: 'data', namespace: 'shop' },
      spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Mi' } } },
    }
    const pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'writer', namespace: 'shop' },
      spec: podSpec('echo precious > /data/file; touch /tmp/done; sleep 1000', {
        volumes: [{ name: 'data', persistentVolumeClaim: { claimName: 'data' } }],
      }),
    }
    Object.assign((pod.spec as { containers: object[] }).containers[0] ?? {}, {
      volumeMounts: [{ name: 'data', mountPath: '/data' }],
      readinessProbe: { exec: { command: ['test', '-f', '/tmp/done'] }, periodSeconds: 1 },
    })
    await applyAll(kube, [namespace('shop'), claim, pod], { timeoutMs: 60_000 })
    await waitFor(kube, pod, { condition: 'Ready' }, { timeoutMs: 60_000 })
  },
  async 'deletes a namespace with pods, and is over at once'(cluster) {
    await faults['leaves volumes with data']?.(cluster)
    await applyAll(cluster.kube, [stubbornDeployment('web', 'shop', 3)], { timeoutMs: 60_000 })
    await cluster.kube.request('DELETE', '/api/v1/namespaces/shop')
  },
  async 'changes what runs the control plane'({ nodes }) {
    const [controlPlane, worker] = nodes
    const manifest = '/etc/kubernetes/manifests/kube-scheduler.yaml'
    const text = String(await controlPlane?.readFile(manifest))
    await controlPlane?.writeFile(manifest, withFlag(text, 'kube-scheduler', '--v=1'))
    const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'stowaway' }, spec: podSpec('sleep 1000') }
    await worker?.writeFile('/etc/kubernetes/manifests/stowaway.yaml', JSON.stringify(pod))
  },
  async 'edits the manifest of the API server, and is over while that still ends'({ nodes }) {
    const manifest = '/etc/kubernetes/manifests/kube-apiserver.yaml'
    const text = String(await nodes[0]?.readFile(manifest))
    await nodes[0]?.writeFile(manifest, withFlag(text, 'kube-apiserver', '--no-such-flag'))
    await setTimeout(1000)
  },
  async 'has kubelets run with another configuration'({ nodes }) {
    const path = '/var/lib/kubelet/config.yaml'
    for (const node of nodes) {
      await node.writeFile(path, `${await node.readFile(path)}maxPods: 17\n`)
      await node.exec(['systemctl', 'restart', 'kubelet'])
    }
  },
  async 'stops the kubelet of a worker, and freezes the other node'({ nodes }) {
    await nodes.at(-1)?.exec(['systemctl', 'stop', 'kubelet'])
    await nodes[0]?.pause()
  },
  async 'fills etcd with 10 000 objects'({ kube }) {
    await applyAll(kube, [namespace('crowd')], { timeoutMs: 10_000 })
    await createAll(kube, manyConfigMaps('crowd', 10_000, 10))
  },
  async 'fills etcd with 50 MB'({ kube }) {
    await applyAll(kube, [namespace('crowd')], { timeoutMs: 10_000 })
    await createAll(kube, manyConfigMaps('crowd', 50, 1_000_000))
  },
  async 'switches a worker off'({ nodes }) {
    await nodes.at(-1)?.stop({ graceSeconds: 0 })
  },
  async 'loses a worker, of which the engine has not heard yet'({ nodes }) {
    const { State } = await inspectContainer(await connectEngine(), nodes.at(-1)?.name ?? '')
    // The parent of a container's first process is what the engine asks to run more in it.
    const [, shim] = /^PPid:\s*(\d+)/m.exec(await readFile(`/proc/${State.Pid}/status`, 'utf8')) ?? []
    process.kill(Number(shim), 'SIGKILL')
  },
}

/** Creates ConfigMaps as fast as the API server takes them. */
async function createAll(kube: Kube, objects: readonly KubeObject[]): Promise<void> {
  const left = [...objects]
  const create = async () => {
    for (let body = left.pop(); body; body = left.pop()) {
      await kube.request('POST', `/api/v1/namespaces/${body.metadata.namespace}/configmaps`, { body })
    }
  }
  await Promise.all(Array.from({ length: 8 }, create))
}

/** So many ConfigMaps of so many bytes each. */
export function manyConfigMaps(namespace: string, count: number, bytes: number): KubeObject[] {
  return Array.from({ length: count }, (_, at) => ({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: `one-of-many-${at}`, namespace },
    data: { filling: 'x'.repeat(bytes) },
  }))
}
