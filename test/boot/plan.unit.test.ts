import { expect, test } from 'vitest'
import { publishedAddress } from '../../src/boot/endpoints.ts'
import { controlPlaneAddress, familiesOf, planCluster } from '../../src/boot/plan.ts'
import { type ClusterOptions, resolveClusterSpec } from '../../src/config/index.ts'

const subnets = { ipv4: '172.28.9.0/24', ipv6: 'fd11:2:3:4::/64' }

async function planned(options: ClusterOptions) {
  return planCluster(await resolveClusterSpec({ name: 'a', ...options }, { env: {} }), subnets)
}

test('every node gets an address and a pod subnet; the bridge and the load balancer come before', async () => {
  const plan = await planned({ nodes: ['control-plane', 'worker'] })
  expect(plan.nodes.map(({ addresses, podCidrs }) => ({ addresses, podCidrs }))).toEqual([
    { addresses: ['172.28.9.3'], podCidrs: ['10.244.0.0/24'] },
    { addresses: ['172.28.9.4'], podCidrs: ['10.244.1.0/24'] },
  ])
  expect(plan).toMatchObject({
    loadBalancer: undefined,
    subnets: ['172.28.9.0/24'],
    apiServiceAddresses: ['10.96.0.1'],
    dnsAddress: '10.96.0.10',
  })
})

test('several control planes are behind a load balancer; each uses its own API server, workers the balancer', async () => {
  const plan = await planned({ nodes: ['control-plane', 'control-plane', 'worker'] })
  expect(plan.loadBalancer).toEqual(['172.28.9.2'])
  expect(plan.nodes.map((node) => controlPlaneAddress(plan, node))).toEqual([
    '172.28.9.3',
    '172.28.9.4',
    '172.28.9.2',
  ])
})

test('a worker of a single control plane uses that one', async () => {
  const plan = await planned({ nodes: ['worker', 'control-plane'] })
  expect(plan.nodes.map((node) => controlPlaneAddress(plan, node))).toEqual(['172.28.9.4', '172.28.9.4'])
})

test('the primary family comes first in everything', async () => {
  const plan = await planned({
    networking: { ipFamily: 'dual', podSubnet: ['fd00:1::/48', '10.1.0.0/16'] },
  })
  expect(familiesOf(plan.spec)).toEqual(['ipv6', 'ipv4'])
  expect(plan.nodes[0]).toMatchObject({
    addresses: ['fd11:2:3:4::3', '172.28.9.3'],
    podCidrs: ['fd00:1::/64', '10.1.0.0/24'],
  })
  expect(plan.apiServiceAddresses).toEqual(['fd00:10:96::1', '10.96.0.1'])
  expect(plan.dnsAddress).toBe('fd00:10:96::a')
})

const maskSize = (value: string) =>
  `kind: ClusterConfiguration\ncontrollerManager: {extraArgs: [{name: node-cidr-mask-size, value: "${value}"}]}`

test('of a small pod subnet each node gets a small part, or the one that a patch says', async () => {
  const nodes = ['control-plane', 'worker', 'worker'] as const
  const podCidrs = async (options: ClusterOptions) =>
    (await planned({ nodes: [...nodes], ...options })).nodes.flatMap((node) => node.podCidrs)
  const networking = { podSubnet: '10.1.0.0/26' }
  expect(await podCidrs({ networking })).toEqual(['10.1.0.0/28', '10.1.0.16/28', '10.1.0.32/28'])
  const patched = { networking, kubeadmConfigPatches: [maskSize('29')] }
  expect(await podCidrs(patched)).toEqual(['10.1.0.0/29', '10.1.0.8/29', '10.1.0.16/29'])
})

test.each([
  ['27', 3, '3 nodes, of which each gets a /27'],
  ['25', 1, 'a node, which gets a /25'],
])('a patch that gives each node a /%s of a /26 leaves no room for %i', async (size, count, room) => {
  await expect(
    planned({
      nodes: Array.from({ length: count }, () => 'control-plane' as const),
      networking: { podSubnet: '10.1.0.0/26' },
      kubeadmConfigPatches: [maskSize(size)],
    }),
  ).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringContaining(`networking.podSubnet 10.1.0.0/26 has no room for ${room}`),
  })
})

test('what the engine publishes is on its own machine', async () => {
  expect(publishedAddress('127.0.0.1', undefined)).toBe('127.0.0.1')
  expect(publishedAddress('0.0.0.0', undefined)).toBe('127.0.0.1')
  expect(publishedAddress('::', undefined)).toBe('[::1]')
  expect(publishedAddress('0.0.0.0', 'docker')).toBe('docker')
  expect(publishedAddress('::', 'fd00::1')).toBe('[fd00::1]')
  expect(publishedAddress('10.0.0.5', 'docker')).toBe('10.0.0.5')
})
