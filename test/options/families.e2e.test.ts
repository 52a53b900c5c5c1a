import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Cluster, createCluster } from '../../src/index.ts'

interface PodObject {
  metadata: { name: string; labels?: Record<string, string> }
  spec: { nodeName: string; hostNetwork?: boolean }
  status: { podIP: string; podIPs: { ip: string }[] }
}

const families = [
  { ipFamily: 'ipv6', kubeProxyMode: 'iptables', of: [6], service: 'fd00:10:96::1' },
  { ipFamily: 'dual', kubeProxyMode: 'nftables', of: [4, 6], service: '10.96.0.1' },
] as const

describe.each(families)('$ipFamily with $kubeProxyMode', ({ ipFamily, kubeProxyMode, of, service }) => {
  let cluster: Cluster

  beforeAll(async () => {
    cluster = await createCluster({
      nodes: ['control-plane', 'worker'],
      networking: { ipFamily, kubeProxyMode },
    })
  })
  afterAll(() => cluster?.delete())

  const familyOf = (address: string) => (address.includes(':') ? 6 : 4)

  async function pods(): Promise<PodObject[]> {
    return ((await cluster.kube.request('GET', '/api/v1/pods')) as { items: PodObject[] }).items
  }

  test('nodes, pods and Services have addresses of these families', async () => {
    for (const node of cluster.nodes) expect(node.addresses.map(familyOf)).toEqual(of)
    const ofPods = (await pods()).filter(({ spec }) => !spec.hostNetwork)
    expect(ofPods.length).toBeGreaterThan(0)
    for (const { status } of ofPods) expect(status.podIPs.map(({ ip }) => familyOf(ip))).toEqual(of)
    const found = await cluster.kube.request('GET', '/api/v1/namespaces/default/services/kubernetes')
    expect(found).toMatchObject({ spec: { clusterIP: service } })
  })

  test('a node reaches pods of the other node, in each family', async () => {
    const dns = (await pods()).find(({ metadata }) => metadata.labels?.['k8s-app'] === 'kube-dns')
    const from = cluster.nodes.find(({ name }) => name !== dns?.spec.nodeName)
    for (const { ip } of dns?.status.podIPs ?? []) {
      const answer = await from?.exec(['mayfly-node', 'dns-wait', '-server', ip, '-timeout', '10s'])
      expect(answer).toMatchObject({ exitCode: 0 })
    }
  })

  test('a second boot needs no snapshot made first', async () => {
    await using second = await createCluster({ networking: { ipFamily, kubeProxyMode } })
    expect(second.timings.map(({ step }) => step)).not.toContainEqual(expect.stringMatching(/^Bake/))
  })
})

test('without kube-proxy and without a network of mayfly, for those who bring both', async () => {
  await using cluster = await createCluster({
    networking: { kubeProxyMode: 'none', disableDefaultCNI: true },
  })
  const { items } = (await cluster.kube.request('GET', '/apis/apps/v1/daemonsets')) as { items: unknown[] }
  expect(items).toEqual([])
  const { items: nodes } = (await cluster.kube.request('GET', '/api/v1/nodes')) as {
    items: { status: { conditions: { type: string; status: string; message: string }[] } }[]
  }
  const ready = nodes[0]?.status.conditions.find(({ type }) => type === 'Ready')
  expect(ready).toMatchObject({
    status: 'False',
    message: expect.stringContaining('cni plugin not initialized'),
  })
})
