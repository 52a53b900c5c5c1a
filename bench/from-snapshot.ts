import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createCluster } from '../src/index.ts'
import { applyAll, connectKube, type KubeObject, waitAvailable } from '../src/kube/index.ts'
import { namespace, podSpec } from '../test/snapshot/suite.ts'
import { type Benchmark, round, seconds } from './benchmark.ts'
import { createUsable, nodes } from './tool.ts'
import { waitUntilUsable } from './usable.ts'

const limits = { timeoutMs: 120_000 }

/** Three nodes that have an operator installed: from a saved file, or, as with kind, created and installed anew. */
export const fromSnapshot: Benchmark = {
  rows: () => ({
    'boot-from-snapshot': {
      unit: 's',
      note: 'three nodes out of a file with the size of cert-manager in it, until they are usable and it is available; kind: create and apply',
    },
    'boot-from-snapshot-plain': {
      unit: 's',
      note: 'three nodes without anything in them, in the same round',
    },
  }),
  async mayfly({ engine, image, mayfly }) {
    const folder = await mkdtemp(join(tmpdir(), 'mayfly-bench-'))
    const file = join(folder, 'operator.mayfly')
    try {
      await installed(image, file)
      const shape = nodes(3)
      await using plain = new AsyncDisposableStack()
      const plainBoot = await seconds(async () => plain.use(await createUsable(mayfly, engine, shape)))
      await plain.disposeAsync()
      await using clusters = new AsyncDisposableStack()
      const boot = await seconds(async () => {
        const since = new Date()
        const roles = ['control-plane', 'worker', 'worker'] as const
        const cluster = await createCluster({ from: file, nodes: [...roles], image, progress: 'silent' })
        clusters.use(cluster)
        const names = cluster.nodes.map(({ name }) => name)
        await waitUntilUsable(engine, { kubeconfig: cluster.kubeconfig, nodes: names, since })
        await waitAvailable(cluster.kube, operator(), limits)
      })
      return { 'boot-from-snapshot': boot, 'boot-from-snapshot-plain': plainBoot }
    } finally {
      await rm(folder, { recursive: true })
    }
  },
  async peer({ engine, kind }) {
    await using clusters = new AsyncDisposableStack()
    const begun = performance.now()
    const cluster = clusters.use(await createUsable(kind, engine, nodes(3)))
    const plain = (performance.now() - begun) / 1000
    using kube = connectKube(cluster.kubeconfig)
    await applyAll(kube, operator(), limits)
    await waitAvailable(kube, operator(), limits)
    const boot = (performance.now() - begun) / 1000
    return { 'boot-from-snapshot': round(boot), 'boot-from-snapshot-plain': round(plain) }
  },
}

async function installed(image: string, file: string): Promise<void> {
  await using cluster = await createCluster({ image, progress: 'silent' })
  await applyAll(cluster.kube, operator(), limits)
  await waitAvailable(cluster.kube, operator(), limits)
  await cluster.saveSnapshot(file, await cluster.snapshot())
}

/** What cert-manager installs, by number and size: six definitions of 70 kB, three Deployments, 45 objects of RBAC. */
function operator(): KubeObject[] {
  const place = 'operator'
  const names = Array.from({ length: 15 }, (_, at) => `operator-${at}`)
  return [
    namespace(place),
    ...['certificates', 'requests', 'challenges', 'orders', 'issuers', 'clusterissuers'].map(definition),
    ...names.flatMap((name): KubeObject[] => [
      { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name, namespace: place } },
      {
        apiVersion: 'rbac.authorization.k8s.io/v1',
        kind: 'ClusterRole',
        metadata: { name },
        rules: [{ apiGroups: ['operator.example'], resources: ['*'], verbs: ['*'] }],
      },
      {
        apiVersion: 'rbac.authorization.k8s.io/v1',
        kind: 'ClusterRoleBinding',
        metadata: { name },
        roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name },
        subjects: [{ kind: 'ServiceAccount', name, namespace: place }],
      },
    ]),
    ...['controller', 'webhook', 'injector'].flatMap((name): KubeObject[] => [
      {
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        metadata: { name, namespace: place },
        spec: {
          selector: { matchLabels: { app: name } },
          template: { metadata: { labels: { app: name } }, spec: podSpec('sleep 100000') },
        },
      },
      {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name, namespace: place },
        spec: { selector: { app: name }, ports: [{ port: 443 }] },
      },
    ]),
  ]
}

function definition(plural: string): KubeObject {
  const fields = Array.from({ length: 350 }, (_, at) => [
    `field${at}`,
    {
      type: 'string',
      description: `What ${plural} have in field ${at}. ${'It is described at length. '.repeat(4)}`,
    },
  ])
  const spec = { type: 'object', properties: Object.fromEntries(fields) }
  const schema = { openAPIV3Schema: { type: 'object', properties: { spec } } }
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.operator.example` },
    spec: {
      group: 'operator.example',
      names: { plural, kind: plural[0]?.toUpperCase() + plural.slice(1) },
      scope: 'Namespaced',
      versions: [{ name: 'v1', served: true, storage: true, schema }],
    },
  }
}
