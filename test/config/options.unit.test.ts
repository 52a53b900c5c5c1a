import { expect, expectTypeOf, test } from 'vitest'
import {
  type ClusterFields,
  type ClusterOptions,
  DEFAULT_NODE_IMAGE,
  type NodeOptions,
  resolveClusterSpec,
} from '../../src/config/index.ts'
import type { ParsedCluster, ParsedNode } from '../../src/config/schema.ts'

function resolve(options?: ClusterOptions, env: Record<string, string> = {}) {
  return resolveClusterSpec(options, { env, cwd: '/project' })
}

test('without options there is one control plane, with a name of its own', async () => {
  const spec = await resolve()
  expect(spec.name).toMatch(/^mayfly-[0-9a-z]{6}$/)
  expect(spec).toEqual({
    name: spec.name,
    nodes: [
      {
        name: `${spec.name}-control-plane`,
        role: 'control-plane',
        image: 'mayfly/node:v1.37.2',
        labels: {},
        extraMounts: [],
        extraPortMappings: [],
        kubeadmConfigPatches: [],
        kubeadmConfigPatchesJSON6902: [],
      },
    ],
    networking: {
      ipFamily: 'ipv4',
      apiServerPort: 0,
      apiServerAddress: '127.0.0.1',
      podSubnets: ['10.244.0.0/16'],
      nodeMaskSizes: [24],
      serviceSubnets: ['10.96.0.0/16'],
      disableDefaultCNI: false,
      kubeProxyMode: 'iptables',
    },
    featureGates: {},
    runtimeConfig: {},
    kubeadmConfigPatches: [],
    kubeadmConfigPatchesJSON6902: [],
    containerdConfigPatches: [],
    containerdConfigPatchesJSON6902: [],
    registryMirrors: {},
    controlPlaneOnly: false,
  })
  expect((await resolve()).name).not.toBe(spec.name)
})

test('the spec is frozen all the way down, the options are not touched', async () => {
  const value = { cpu: 1 }
  const operation = { op: 'add' as const, path: '/a', value }
  const options: ClusterOptions = {
    nodes: [{ labels: { a: 'b' } }],
    kubeadmConfigPatchesJSON6902: [{ kind: 'ClusterConfiguration', patch: [operation] }],
  }
  const spec = await resolve(options)
  const frozen = (thing: unknown): boolean =>
    typeof thing !== 'object' ||
    thing === null ||
    (Object.isFrozen(thing) && Object.values(thing).every(frozen))
  expect(frozen(spec)).toBe(true)
  expect([options, operation, value].some(Object.isFrozen)).toBe(false)
})

test('nodes are roles or objects; one with a given name leaves the names of the others as they are', async () => {
  const { nodes } = await resolve({
    name: 'c',
    nodes: ['control-plane', { role: 'worker', name: 'big.node' }, 'worker', { labels: { a: '' } }],
  })
  expect(nodes.map(({ name, role }) => [name, role])).toEqual([
    ['c-control-plane', 'control-plane'],
    ['big.node', 'worker'],
    ['c-worker2', 'worker'],
    ['c-control-plane2', 'control-plane'],
  ])
})

test('an empty list of nodes is the default one, as for kind', async () => {
  expect((await resolve({ nodes: [] })).nodes).toHaveLength(1)
})

test('the node image: of the node, else of all nodes, else of the environment, else the default', async () => {
  const imageOf = async (options: ClusterOptions, env = {}) => (await resolve(options, env)).nodes[0]?.image
  const env = { MAYFLY_NODE_IMAGE: 'registry.example:5000/team/node:dev' }
  expect(await imageOf({ image: 'a', nodes: [{ image: 'b' }] }, env)).toBe('b')
  expect(await imageOf({ image: 'a', nodes: [{}] }, env)).toBe('a')
  expect(await imageOf({}, env)).toBe('registry.example:5000/team/node:dev')
  expect(await imageOf({}, { MAYFLY_NODE_IMAGE: '' })).toBe(DEFAULT_NODE_IMAGE)
})

test.each([
  ['128Mi', 128 * 2 ** 20],
  ['1.5Gi', 1.5 * 2 ** 30],
  ['2G', 2e9],
  ['500000k', 5e8],
  [268435456, 268435456],
  ['268435456', 268435456],
])('memory %s is %i bytes', async (memory, memoryBytes) => {
  expect((await resolve({ nodes: [{ memory }] })).nodes[0]).toMatchObject({ memoryBytes })
})

test.each<[NonNullable<ClusterOptions['networking']>, object]>([
  [
    { ipFamily: 'ipv6' },
    { podSubnets: ['fd00:10:244::/56'], serviceSubnets: ['fd00:10:96::/112'], apiServerAddress: '::1' },
  ],
  [
    { ipFamily: 'dual' },
    {
      podSubnets: ['10.244.0.0/16', 'fd00:10:244::/56'],
      serviceSubnets: ['10.96.0.0/16', 'fd00:10:96::/112'],
      apiServerAddress: '127.0.0.1',
    },
  ],
  // The primary family of what is given is that of what is not.
  [
    { ipFamily: 'dual', podSubnet: ['fd00:1::/56', '10.1.0.0/16'] },
    { podSubnets: ['fd00:1::/56', '10.1.0.0/16'], serviceSubnets: ['fd00:10:96::/112', '10.96.0.0/16'] },
  ],
  // Networks of different families never overlap, whatever their bits.
  [
    { ipFamily: 'dual', podSubnet: '10.0.0.0/16,fd00::/56', serviceSubnet: '10.1.0.0/16,::a00:0/112' },
    { serviceSubnets: ['10.1.0.0/16', '::a00:0/112'] },
  ],
  // Canonical form: one subnet has one text.
  [
    { ipFamily: 'dual', podSubnet: '10.1.2.3/16, FD00:0:0:1:0:0:0:1/56' },
    { podSubnets: ['10.1.0.0/16', 'fd00::/56'] },
  ],
  [
    { ipFamily: 'ipv6', podSubnet: 'fd00::1.2.3.4/48', serviceSubnet: '1::/112' },
    { podSubnets: ['fd00::/48'], serviceSubnets: ['1::/112'] },
  ],
  [{ apiServerPort: -1 }, { apiServerPort: 0 }],
  [{ dnsSearch: [] }, { dnsSearch: [] }],
])('networking %j is completed to %j', async (networking, completed) => {
  expect((await resolve({ networking })).networking).toMatchObject(completed)
})

test('published ports listen on all addresses of the IP family, and lower-case protocols are understood', async () => {
  const { nodes } = await resolve({
    networking: { ipFamily: 'ipv6' },
    nodes: [{ extraPortMappings: [{ containerPort: 53, hostPort: -1, protocol: 'sctp' }] }],
  })
  expect(nodes[0]?.extraPortMappings).toEqual([
    { containerPort: 53, hostPort: 0, listenAddress: '::', protocol: 'SCTP' },
  ])
})

test('one host port may be published for two protocols, and on two addresses', async () => {
  const at = (protocol: 'TCP' | 'UDP', listenAddress: string) => ({
    containerPort: 53,
    hostPort: 5300,
    protocol,
    listenAddress,
  })
  const { nodes } = await resolve({
    nodes: [
      { extraPortMappings: [at('TCP', '127.0.0.1'), at('UDP', '127.0.0.1')] },
      { extraPortMappings: [at('TCP', '127.0.0.2')] },
    ],
  })
  expect(nodes).toHaveLength(2)
})

test("values of runtimeConfig are those that Go's ParseBool knows", async () => {
  const runtimeConfig = {
    'api/all': true,
    'api/beta': '0',
    'apps/v1': '',
    'batch/v1/jobs': 'TRUE',
    'api/ga': 'f',
  }
  expect((await resolve({ runtimeConfig })).runtimeConfig).toEqual({
    'api/all': 'true',
    'api/beta': 'false',
    'apps/v1': 'true',
    'batch/v1/jobs': 'true',
    'api/ga': 'false',
  })
})

test('a mirror may be one URL', async () => {
  const registryMirrors = {
    'docker.io': 'http://registry:5000',
    'localhost:5001': ['http://a', 'https://b/prefix'],
  }
  expect((await resolve({ registryMirrors })).registryMirrors).toEqual({
    'docker.io': ['http://registry:5000'],
    'localhost:5001': ['http://a', 'https://b/prefix'],
  })
})

test("the environment's proxy is the nodes', with what is inside the cluster left out", async () => {
  const env = {
    HTTP_PROXY: '',
    http_proxy: 'http://p:1',
    HTTPS_PROXY: 'http://p:2',
    no_proxy: 'localhost, .corp,.svc',
  }
  expect((await resolve({ name: 'c', nodes: ['control-plane', 'worker'] }, env)).proxy).toEqual({
    httpProxy: 'http://p:1',
    httpsProxy: 'http://p:2',
    noProxy:
      'localhost,.corp,.svc,10.96.0.0/16,10.244.0.0/16,c-control-plane,c-worker,.svc.cluster,.svc.cluster.local',
  })
})

test('a proxy in the options is taken field by field before the environment, and false is none at all', async () => {
  const env = { HTTP_PROXY: 'http://p:1', HTTPS_PROXY: 'http://p:2', NO_PROXY: 'a' }
  const proxyOf = async (proxy: ClusterOptions['proxy'], config?: ClusterOptions['config']) =>
    (await resolve({ name: 'c', proxy, config }, env)).proxy
  expect(await proxyOf({ httpProxy: 'mine:3', noProxy: ['x', 'y'] })).toMatchObject({
    httpProxy: 'mine:3',
    httpsProxy: 'http://p:2',
    noProxy: expect.stringMatching(/^x,y,10\.96\.0\.0\/16,/),
  })
  expect(await proxyOf(false)).toBeUndefined()
  expect(await proxyOf(false, { proxy: { httpProxy: 'theirs:4' } })).toBeUndefined()
  expect(
    await proxyOf({ httpProxy: 'mine:3' }, { proxy: { httpProxy: 'theirs:4', httpsProxy: 'theirs:5' } }),
  ).toMatchObject({
    httpProxy: 'mine:3',
    httpsProxy: 'theirs:5',
  })
  expect((await resolve()).proxy).toBeUndefined()
})

test('JSON patches are given as operations, JSON or YAML, and kept as one form', async () => {
  const target = { kind: 'KubeletConfiguration' }
  const operations = [{ op: 'copy' as const, from: '/a~1b', path: '/c' }]
  const spec = await resolve({
    kubeadmConfigPatchesJSON6902: [
      { ...target, patch: operations },
      { ...target, patch: JSON.stringify(operations) },
      { ...target, patch: '- {op: copy, from: /a~1b, path: /c}' },
    ],
    containerdConfigPatchesJSON6902: ['- op: remove\n  path: /debug'],
  })
  const parsed = { group: '', version: '', kind: 'KubeletConfiguration', patch: operations }
  expect(spec.kubeadmConfigPatchesJSON6902).toEqual([parsed, parsed, parsed])
  expect(spec.containerdConfigPatchesJSON6902).toEqual(['[{"op":"remove","path":"/debug"}]'])
})

test.each([
  // Each node gets as much as the controller manager would give it, while one more node has room.
  ['10.1.0.0/16', 3, [24]],
  ['10.1.0.0/22', 3, [24]],
  ['10.1.0.0/22', 4, [25]],
  ['10.1.0.0/24', 1, [25]],
  ['10.1.0.0/24', 3, [26]],
  ['10.1.0.0/26', 3, [28]],
  // Of a subnet for more nodes than the controller manager counts each gets more.
  ['12.0.0.0/7', 1, [23]],
  ['fd00::/56', 3, [64]],
  ['fd00::/64', 3, [66]],
  ['fd00::/122', 2, [124]],
  ['fd00::/40', 1, [56]],
  ['10.1.0.0/25,fd00::/64', 3, [27, 66]],
] as const)('of pod subnet %s each of %i nodes gets a prefix of %j', async (podSubnet, count, sizes) => {
  const ipFamily = podSubnet.includes(',') ? 'dual' : podSubnet.includes(':') ? 'ipv6' : 'ipv4'
  const nodes = Array.from({ length: count }, () => 'control-plane' as const)
  const { networking } = await resolve({ nodes, networking: { ipFamily, podSubnet } })
  expect(networking.nodeMaskSizes).toEqual(sizes)
})

test('a small pod subnet is fine when nodes are told to take less of it', async () => {
  const spec = await resolve({
    networking: { podSubnet: '10.1.0.0/26' },
    kubeadmConfigPatches: [
      'kind: ClusterConfiguration\ncontrollerManager: {extraArgs: [{name: node-cidr-mask-size, value: "28"}]}',
    ],
  })
  expect(spec.networking.podSubnets).toEqual(['10.1.0.0/26'])
})

test('a longest name fits the hostname of its longest node', async () => {
  const name = 'n'.repeat(63 - '-control-plane'.length)
  expect((await resolve({ name })).nodes[0]?.name).toHaveLength(63)
})

test('an inline object may leave out what it is, and fields without a value', async () => {
  const config = JSON.parse('{"nodes": [{"role": "control-plane", "labels": null}], "networking": null}')
  expect((await resolve({ config })).nodes).toHaveLength(1)
})

test('fields that the caller reads itself are not looked at', async () => {
  const options = { name: 'c', signal: AbortSignal.abort() }
  const spec = await resolveClusterSpec(options, { env: {}, otherFields: ['signal'] })
  expect(spec).not.toHaveProperty('signal')
  await expect(resolveClusterSpec(options, { env: {} })).rejects.toThrow('signal is not a known field')
})

test('types and validation know the same fields', () => {
  expectTypeOf<keyof ClusterFields>().toEqualTypeOf<keyof ParsedCluster>()
  expectTypeOf<keyof NodeOptions>().toEqualTypeOf<keyof ParsedNode>()
})

test('a control plane alone has no room for more nodes', async () => {
  expect(await resolve({ controlPlaneOnly: true })).toMatchObject({ controlPlaneOnly: true })
  await expect(resolve({ controlPlaneOnly: true, nodes: ['control-plane', 'worker'] })).rejects.toThrow(
    'nodes has 2 nodes; allowed with controlPlaneOnly: one control-plane',
  )
})
