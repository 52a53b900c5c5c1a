import { expect, test } from 'vitest'
import {
  type ClusterOptions,
  isDefaultBootSpec,
  resolveClusterSpec,
  specFingerprint,
} from '../../src/config/index.ts'

const resolve = (options: ClusterOptions = {}) => resolveClusterSpec(options, { env: {} })
const fingerprint = async (options?: ClusterOptions) => specFingerprint(await resolve(options))

const kubelet = 'kind: KubeletConfiguration\nmaxPods: 5\n'
const labelled = 'kind: InitConfiguration\nnodeRegistration: {kubeletExtraArgs: {node-labels: a=b}}\n'
const joined = 'kind: JoinConfiguration\nnodeRegistration: {taints: []}\n'
const labelled6902 = {
  kind: 'InitConfiguration',
  patch: '[{"op": "add", "path": "/nodeRegistration/taints", "value": []}]',
}
const certificates = 'kind: ClusterConfiguration\napiServer: {certSANs: [a.example]}\n'
const scheduler6902 = { kind: 'ClusterConfiguration', patch: '[{"op": "remove", "path": "/scheduler"}]' }
const kubelet6902 = { kind: 'KubeletConfiguration', patch: '[{"op": "add", "path": "/maxPods", "value": 5}]' }

const sameSnapshot: [string, ClusterOptions][] = [
  ['name', { name: 'other' }],
  ['numbers of nodes', { nodes: ['worker', 'control-plane', 'control-plane', 'worker'] }],
  ['names of nodes', { nodes: [{ name: 'other' }] }],
  ['labels', { nodes: [{ labels: { a: 'b' } }] }],
  ['mounts', { nodes: [{ extraMounts: [{ hostPath: '/a', containerPath: '/b' }] }] }],
  ['ports', { nodes: [{ extraPortMappings: [{ containerPort: 80 }] }] }],
  ['limits', { nodes: [{ cpus: 1, memory: '1Gi' }] }],
  ['API server address', { networking: { apiServerPort: 6443, apiServerAddress: '0.0.0.0' } }],
  ['search domains', { networking: { dnsSearch: ['a.example'] } }],
  ['mirrors', { registryMirrors: { 'docker.io': 'http://registry:5000' } }],
  ['proxy', { proxy: { httpProxy: 'http://proxy:3128' } }],
  ['containerd patch', { containerdConfigPatches: ['a = 1'] }],
  ['containerd JSON patch', { containerdConfigPatchesJSON6902: ['[]'] }],
  ['kubelet patch of one node', { nodes: [{ kubeadmConfigPatches: [kubelet] }] }],
  ['kubelet JSON patch of one node', { nodes: [{ kubeadmConfigPatchesJSON6902: [kubelet6902] }] }],
  ['how nodes are registered', { kubeadmConfigPatches: [labelled, joined] }],
  [
    'how one node is registered',
    { nodes: [{ kubeadmConfigPatches: [labelled], kubeadmConfigPatchesJSON6902: [labelled6902] }] },
  ],
  [
    "a worker's kubeadm patch",
    { nodes: ['control-plane', { role: 'worker', kubeadmConfigPatches: [certificates] }] },
  ],
  ['defaults given', { networking: { podSubnet: '10.244.7.7/16', kubeProxyMode: 'iptables' } }],
]

const otherSnapshot: [string, ClusterOptions][] = [
  ['IP family', { networking: { ipFamily: 'ipv6' } }],
  ['two IP families', { networking: { ipFamily: 'dual' } }],
  ['pod subnet', { networking: { podSubnet: '10.1.0.0/16' } }],
  ['Service subnet', { networking: { serviceSubnet: '10.1.0.0/16' } }],
  ['proxy mode', { networking: { kubeProxyMode: 'ipvs' } }],
  ['no CNI', { networking: { disableDefaultCNI: true } }],
  ['feature gates', { featureGates: { A: true } }],
  ['API settings', { runtimeConfig: { 'api/all': 'true' } }],
  ['kubeadm patch', { kubeadmConfigPatches: [kubelet] }],
  ['kubeadm JSON patch', { kubeadmConfigPatchesJSON6902: [kubelet6902] }],
  ["the first control plane's kubeadm patch", { nodes: [{ kubeadmConfigPatches: [certificates] }] }],
  [
    "the first control plane's kubeadm JSON patch",
    { nodes: [{ kubeadmConfigPatchesJSON6902: [scheduler6902] }] },
  ],
  [
    'phases that kubeadm leaves out',
    { kubeadmConfigPatches: ['kind: InitConfiguration\nskipPhases: [addon/coredns]\n'] },
  ],
]

test.each(sameSnapshot)('%s: the shipped snapshot fits', async (_, options) => {
  expect(await fingerprint(options)).toBe(await fingerprint())
  expect(isDefaultBootSpec(await resolve(options))).toBe(true)
})

test.each(otherSnapshot)('%s: another snapshot is needed', async (_, options) => {
  expect(await fingerprint(options)).not.toBe(await fingerprint())
  expect(isDefaultBootSpec(await resolve(options))).toBe(false)
})

test('all configurations that differ have fingerprints that differ', async () => {
  const all = await Promise.all(otherSnapshot.map(([, options]) => fingerprint(options)))
  expect(new Set(all).size).toBe(otherSnapshot.length)
})

test('it is SHA-256 in hex, and stays what it is from release to release', async () => {
  expect(await fingerprint()).toMatchInlineSnapshot(
    `"f56866abbf2f50d897c6af42253e3760570cfe9cdf31066117cf39dba4df86f0"`,
  )
})

test('the order of keys does not matter, that of patches does', async () => {
  expect(await fingerprint({ featureGates: { A: true, B: false } })).toBe(
    await fingerprint({ featureGates: { B: false, A: true } }),
  )
  expect(await fingerprint({ kubeadmConfigPatches: [kubelet, certificates] })).not.toBe(
    await fingerprint({ kubeadmConfigPatches: [certificates, kubelet] }),
  )
})

test('the patches of control planes beyond the first do not matter', async () => {
  const patched = { role: 'control-plane' as const, kubeadmConfigPatches: [certificates] }
  expect(await fingerprint({ nodes: ['control-plane', patched] })).toBe(await fingerprint())
  expect(await fingerprint({ nodes: [patched, 'control-plane'] })).not.toBe(await fingerprint())
})

test('nodes with several images share no snapshot that an image ships', async () => {
  const spec = await resolve({ nodes: ['control-plane', { role: 'worker', image: 'other' }] })
  expect(isDefaultBootSpec(spec)).toBe(false)
})

test('an image built anew under its old name is another image', async () => {
  const spec = await resolve({ image: 'node:dev' })
  const withId = (id: string) => specFingerprint(spec, { 'node:dev': id })
  expect(withId('sha256:1')).not.toBe(withId('sha256:2'))
  expect(specFingerprint(await resolve({ image: 'node:alias' }), { 'node:alias': 'sha256:1' })).toBe(
    withId('sha256:1'),
  )
})

test('the shipped snapshot fits whatever image all nodes have, which says itself whether it ships one', async () => {
  expect(
    isDefaultBootSpec(await resolve({ image: 'mayfly/node:v1.36.3', nodes: ['control-plane', 'worker'] })),
  ).toBe(true)
})
