import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Cluster, createCluster, getCluster } from '../../src/index.ts'
import { connectKube, list } from '../../src/kube/index.ts'
import { until } from '../../src/wait.ts'
import { inPod, run, webPod } from './pods.ts'

let cluster: Cluster
let first: string
let worker: string

beforeAll(async () => {
  cluster = await createCluster({ nodes: ['control-plane', 'worker'] })
  first = cluster.nodes[0]?.name ?? ''
  worker = cluster.nodes[1]?.name ?? ''
})
afterAll(() => cluster?.delete())

const serverOf = (kubeconfig: string) => /server: .*/.exec(kubeconfig)?.[0]

async function podsNamed(component: string): Promise<(string | undefined)[]> {
  const pods = await list(cluster.kube, { apiVersion: 'v1', kind: 'Pod' }, { namespace: 'kube-system' })
  const those = pods.filter(({ metadata }) => metadata.labels?.['component'] === component)
  return those.map(({ metadata }) => metadata.name).sort()
}

/** The only one that works is the one that has a lease: two that hold no election would both work. */
async function leaderOf(component: string): Promise<string | undefined> {
  const path = `/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/${component}`
  const { spec } = (await cluster.kube.request('GET', path)) as { spec: { holderIdentity?: string } }
  return spec.holderIdentity
}

test('a second control plane joins the only one, behind a load balancer', async () => {
  const before = cluster.kubeconfig
  const { name, role } = await cluster.addNode({ role: 'control-plane' })
  expect([name, role]).toEqual([`${cluster.name}-control-plane2`, 'control-plane'])
  expect(await podsNamed('etcd')).toEqual([`etcd-${first}`, `etcd-${name}`])
  expect(await leaderOf('kube-controller-manager')).toContain(first)
  expect(await leaderOf('kube-scheduler')).toContain(first)

  // What was handed out still leads to the first one; what is handed out now leads to both.
  expect(serverOf(cluster.kubeconfig)).not.toBe(serverOf(before))
  using direct = connectKube(before)
  for (const kube of [direct, cluster.kube]) expect(await kube.request('GET', '/readyz')).toBe('ok')
  await using found = await getCluster(cluster.name)
  expect(serverOf(found.kubeconfig)).toBe(serverOf(cluster.kubeconfig))
  expect(serverOf(found.internalKubeconfig)).toBe(serverOf(cluster.internalKubeconfig))
})

test('the first one can go then: workers and clients find the other', async () => {
  await cluster.removeNode(first)
  expect(cluster.nodes.map(({ name }) => name)).toEqual([worker, `${cluster.name}-control-plane2`])
  expect(await podsNamed('etcd')).toEqual([`etcd-${cluster.name}-control-plane2`])
  await run(cluster.kube, webPod('after', worker))
  expect((await inPod(cluster.kube, 'after', 'hostname')).stdout).toBe('after')
  // Pods are told to ask for the API server by its Service.
  await until(
    'the API to have one server',
    async () => {
      const path = '/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes'
      const { endpoints } = (await cluster.kube.request('GET', path)) as { endpoints: unknown[] }
      return endpoints.length === 1 || undefined
    },
    { timeoutMs: 30_000, intervalMs: 200 },
  )
})

test('a worker that is started again finds it, too', async () => {
  await cluster.node(worker).restart({ graceSeconds: 1 })
  await run(cluster.kube, webPod('again', worker))
})

test('the last one stays', async () => {
  await expect(cluster.removeNode(`${cluster.name}-control-plane2`)).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringContaining('is the only control plane'),
  })
})
