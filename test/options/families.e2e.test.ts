import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Cluster, createCluster } from '../../src/index.ts'
import type { KubeObject } from '../../src/kube/index.ts'
import { until } from '../../src/wait.ts'
import { httpGet, inPod, namesOf, run, webPod } from '../cluster/pods.ts'

interface PodObject {
  metadata: { name: string; labels?: Record<string, string> }
  spec: { nodeName: string; hostNetwork?: boolean }
  status: { podIP: string; podIPs: { ip: string }[] }
}

const families = [
  // A pod subnet that has room for one node, if that is given what is usual.
  {
    networking: { ipFamily: 'ipv6', kubeProxyMode: 'iptables', podSubnet: 'fd00:10:244::/64' },
    of: [6],
    service: 'fd00:10:96::1',
    podCidrs: [['fd00:10:244::/66'], ['fd00:10:244:0:4000::/66'], ['fd00:10:244:0:8000::/66']],
  },
  {
    networking: { ipFamily: 'dual', kubeProxyMode: 'nftables', podSubnet: '10.244.0.0/26,fd00:10:244::/56' },
    of: [4, 6],
    service: '10.96.0.1',
    podCidrs: [
      ['10.244.0.0/28', 'fd00:10:244::/64'],
      ['10.244.0.16/28', 'fd00:10:244:1::/64'],
      ['10.244.0.32/28', 'fd00:10:244:2::/64'],
    ],
  },
] as const

describe.each(families)('$networking.ipFamily with $networking.kubeProxyMode', (family) => {
  const { networking, of, service, podCidrs } = family
  let cluster: Cluster

  beforeAll(async () => {
    cluster = await createCluster({ nodes: ['control-plane', 'worker'], networking })
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
      const answer = await from?.exec(['mayfly-node', 'dns-wait', '-here', '-server', ip, '-timeout', '10s'])
      expect(answer).toMatchObject({ exitCode: 0 })
    }
  })

  test('each node has its part of the pod subnet, and the controller manager gives the next', async () => {
    const podCidrsOf = async (node: string) => {
      const found = await cluster.kube.request('GET', `/api/v1/nodes/${node}`)
      return (found as { spec: { podCIDRs?: string[] } }).spec.podCIDRs
    }
    const parts = await Promise.all(cluster.nodes.map(({ name }) => podCidrsOf(name)))
    expect(parts).toEqual(podCidrs.slice(0, 2))
    // As a machine that registers itself.
    const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'another' } }
    await cluster.kube.request('POST', '/api/v1/nodes', { body: node })
    const given = await until('a part of the pod subnet', () => podCidrsOf('another'), { timeoutMs: 20_000 })
    await cluster.kube.request('DELETE', '/api/v1/nodes/another')
    expect(given).toEqual(podCidrs[2])
  })

  test('a pod reaches another one on another node by its DNS name, through its Service', async () => {
    const [server, client] = cluster.nodes.map(({ name }) => name)
    const web = {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'web', namespace: 'default' },
      spec: {
        selector: { app: 'web' },
        ports: [{ port: 80, targetPort: 8080 }],
        ipFamilyPolicy: 'PreferDualStack',
      },
    }
    const tolerating = (pod: KubeObject) => {
      pod['spec'].tolerations = [{ operator: 'Exists' }]
      return pod
    }
    await run(cluster.kube, web, tolerating(webPod('web', server)), tolerating(webPod('client', client)))
    const answered = async () =>
      (await httpGet(cluster.kube, 'client', 'http://web')).stdout === 'web' || undefined
    await until('the Service to answer by its name', answered, { timeoutMs: 20_000 })
    const found = await cluster.kube.request('GET', '/api/v1/namespaces/default/services/web')
    const { clusterIPs } = (found as { spec: { clusterIPs: string[] } }).spec
    expect(clusterIPs.map(familyOf)).toEqual(of)
    for (const ip of clusterIPs) {
      const url = `http://${ip.includes(':') ? `[${ip}]` : ip}`
      expect(await httpGet(cluster.kube, 'client', url)).toMatchObject({ stdout: 'web' })
    }
  })

  test('a pod resolves what the cluster does not know: the engine’s DNS answers, which knows the nodes', async () => {
    const [node] = cluster.nodes
    const resolved = async (_: AbortSignal, report: (seen: string) => void) => {
      const { stdout, stderr } = await inPod(cluster.kube, 'client', 'nslookup', `${node?.name}.`)
      report(`${stdout}\n${stderr}`)
      return stdout.includes(node?.addresses[0] ?? 'nothing') || undefined
    }
    await until('the name to be resolved', resolved, { timeoutMs: 20_000 })
  })

  test('a second boot, of fewer nodes even, needs no snapshot made first', async () => {
    await using second = await createCluster({ networking })
    expect(second.timings.map(({ step }) => step)).not.toContainEqual(expect.stringMatching(/^Bake/))
  })
})

const workloads = async ({ kube }: Cluster) => [
  ...(await namesOf(kube, 'DaemonSet', undefined, 'apps/v1')),
  ...(await namesOf(kube, 'Deployment', undefined, 'apps/v1')),
]

test('without kube-proxy DNS is waited for at its pods, to which no Service leads', async () => {
  await using cluster = await createCluster({ networking: { kubeProxyMode: 'none' } })
  expect(await workloads(cluster)).toEqual(['kindnet', 'coredns', 'local-path-provisioner'])
})

test('without CoreDNS nobody waits for it', async () => {
  await using cluster = await createCluster({
    kubeadmConfigPatches: ['kind: InitConfiguration\nskipPhases: [addon/coredns]\n'],
  })
  expect(await workloads(cluster)).toEqual(['kindnet', 'kube-proxy', 'local-path-provisioner'])
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
