import { describe, expect, test } from 'vitest'
import { planCluster } from '../../src/boot/plan.ts'
import { dnsServer } from '../../src/boot/ready.ts'
import { type ClusterOptions, resolveClusterSpec } from '../../src/config/index.ts'

const pod = (app: string, podIP: string, namespace = 'kube-system') => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: `${app}-x`, namespace, labels: { 'k8s-app': app } },
  status: { podIP },
})

async function planned(networking: ClusterOptions['networking'] = {}) {
  return planCluster(await resolveClusterSpec({ name: 'a', networking }, { env: {} }), {
    ipv4: '172.28.9.0/24',
  })
}

describe('where the DNS of a cluster is waited for', () => {
  const dns = pod('kube-dns', '10.244.0.2')
  const proxy = pod('kube-proxy', '172.28.9.3')

  test('at its Service', async () => {
    expect(dnsServer(await planned(), [proxy, dns])).toBe('10.96.0.10')
  })

  test('at a pod, without kube-proxy: nothing leads from the Service there', async () => {
    expect(dnsServer(await planned({ kubeProxyMode: 'none' }), [dns])).toBe('10.244.0.2')
  })

  test('nowhere, when the configuration left it out', async () => {
    const plan = await planned()
    expect(dnsServer(plan, [proxy])).toBeUndefined()
    expect(dnsServer(plan, [proxy, pod('kube-dns', '10.244.0.9', 'mine')])).toBeUndefined()
    const deleted = { ...dns, metadata: { ...dns.metadata, deletionTimestamp: '2026-01-01T00:00:00Z' } }
    expect(dnsServer(plan, [proxy, deleted])).toBeUndefined()
  })

  test('nowhere, before the user has brought a network', async () => {
    expect(dnsServer(await planned({ disableDefaultCNI: true }), [proxy, dns])).toBeUndefined()
  })
})
