import { join } from 'node:path'
import { expect, test } from 'vitest'
import { type ClusterOptions, resolveClusterSpec } from '../../src/config/index.ts'

const folder = join(import.meta.dirname, '../../fixtures/kind-configs')

function fromFile(config: string, options: ClusterOptions = {}) {
  return resolveClusterSpec({ ...options, config }, { cwd: folder, env: {} })
}

test('every field of kind v1alpha4 arrives in the spec', async () => {
  expect(await fromFile('every-field.yaml')).toEqual({
    name: 'every-field',
    networking: {
      ipFamily: 'dual',
      apiServerPort: 16443,
      apiServerAddress: '127.0.0.2',
      podSubnets: ['10.10.0.0/16', 'fd00:10:10::/56'],
      nodeMaskSizes: [24, 64],
      serviceSubnets: ['10.11.0.0/16', 'fd00:10:11::/112'],
      disableDefaultCNI: true,
      kubeProxyMode: 'nftables',
      dnsSearch: ['corp.example', 'example.org'],
    },
    featureGates: { InPlacePodVerticalScaling: true, SidecarContainers: false },
    runtimeConfig: { 'api/alpha': 'false', 'batch/v2alpha1': 'true' },
    kubeadmConfigPatches: [
      'kind: ClusterConfiguration\napiServer:\n  extraArgs:\n  - name: v\n    value: "4"\n',
      'apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nmaxPods: 50\n',
    ],
    kubeadmConfigPatchesJSON6902: [
      {
        group: 'kubeadm.k8s.io',
        version: 'v1beta4',
        kind: 'ClusterConfiguration',
        patch: [{ op: 'add', path: '/apiServer/certSANs/-', value: 'my-hostname' }],
      },
    ],
    containerdConfigPatches: ['version = 3\n[debug]\n  level = "debug"'],
    containerdConfigPatchesJSON6902: ['[{"op":"replace","path":"/debug/level","value":"info"}]'],
    registryMirrors: {},
    controlPlaneOnly: false,
    nodes: [
      {
        name: 'every-field-control-plane',
        role: 'control-plane',
        image: `kindest/node:v1.36.1@sha256:${'0123456789abcdef'.repeat(4)}`,
        labels: { tier: 'frontend', 'example.org/zone': 'a' },
        extraMounts: [
          {
            hostPath: join(folder, 'files'),
            containerPath: '/files',
            readOnly: true,
            selinuxRelabel: true,
            propagation: 'Bidirectional',
          },
          {
            hostPath: '/var/cache',
            containerPath: '/cache',
            readOnly: false,
            selinuxRelabel: false,
            propagation: 'None',
          },
        ],
        extraPortMappings: [
          { containerPort: 80, hostPort: 8080, listenAddress: '127.0.0.1', protocol: 'UDP' },
          { containerPort: 443, hostPort: 0, listenAddress: '0.0.0.0', protocol: 'TCP' },
        ],
        kubeadmConfigPatches: [
          'kind: InitConfiguration\nnodeRegistration:\n  kubeletExtraArgs:\n  - name: node-labels\n    value: ingress-ready=true\n',
        ],
        kubeadmConfigPatchesJSON6902: [
          {
            group: 'kubelet.config.k8s.io',
            version: 'v1beta1',
            kind: 'KubeletConfiguration',
            patch: [{ op: 'remove', path: '/maxPods' }],
          },
        ],
      },
      {
        name: 'every-field-worker',
        role: 'worker',
        image: 'mayfly/node:v1.37.2',
        labels: {},
        extraMounts: [],
        extraPortMappings: [],
        kubeadmConfigPatches: [],
        kubeadmConfigPatchesJSON6902: [],
      },
    ],
  })
})

test('a file of kind and apiVersion alone is the default cluster', async () => {
  const name = 'same'
  const plain = await resolveClusterSpec({ name }, { env: {} })
  expect(await fromFile('minimal.yaml', { name })).toEqual(plain)
})

test('nodes are named as kind names them', async () => {
  const { nodes } = await fromFile('ha.yaml')
  expect(nodes.map(({ name }) => name)).toEqual([
    'ha-control-plane',
    'ha-control-plane2',
    'ha-control-plane3',
    'ha-worker',
    'ha-worker2',
  ])
})

test("mayfly's own fields are taken from a file too", async () => {
  const spec = await fromFile('mayfly-fields.yaml')
  expect(spec).toMatchObject({
    name: 'beyond',
    registryMirrors: { 'docker.io': ['http://registry:5000'], '*': ['https://mirror.example/v2'] },
    proxy: { httpProxy: 'http://proxy.example:3128' },
    nodes: [
      { name: 'beyond-control-plane', role: 'control-plane', image: 'mayfly/node:v1.36.3' },
      { name: 'big', role: 'worker', image: 'mayfly/node:v1.36.3', cpus: 1.5, memoryBytes: 2 * 2 ** 30 },
    ],
  })
  expect(spec.nodes[0]).not.toHaveProperty('cpus')
})

test('scalars, merge keys and empty values are read as kind reads them', async () => {
  const labels = { ordinal: '1', version: '1.10', flag: 'true' }
  expect(await fromFile('yaml-features.yaml')).toMatchObject({
    name: '2026',
    featureGates: {},
    runtimeConfig: { 'api/all': 'false' },
    networking: { disableDefaultCNI: true },
    nodes: [
      { role: 'control-plane', labels },
      { role: 'worker', labels, extraPortMappings: [{ containerPort: 53, hostPort: 0, protocol: 'UDP' }] },
    ],
  })
})

test('options win over the file: objects key by key, lists and scalars as a whole', async () => {
  const spec = await fromFile('every-field.yaml', {
    name: 'mine',
    networking: { apiServerPort: -1, kubeProxyMode: undefined },
    featureGates: { SidecarContainers: true },
    containerdConfigPatches: undefined,
    kubeadmConfigPatches: [],
  })
  expect(spec).toMatchObject({
    name: 'mine',
    networking: { ipFamily: 'dual', apiServerPort: 0, kubeProxyMode: 'nftables' },
    featureGates: { InPlacePodVerticalScaling: true, SidecarContainers: true },
    containerdConfigPatches: ['version = 3\n[debug]\n  level = "debug"'],
    kubeadmConfigPatches: [],
    nodes: [{ name: 'mine-control-plane' }, { name: 'mine-worker' }],
  })
})

test('an image in the options replaces those of the nodes in the file, not those of nodes in the options', async () => {
  const imagesOf = async (options: ClusterOptions) =>
    (await fromFile('every-field.yaml', options)).nodes.map(({ image }) => image)
  expect(await imagesOf({ image: 'mine:1' })).toEqual(['mine:1', 'mine:1'])
  expect(
    await imagesOf({ image: 'mine:1', nodes: ['control-plane', { role: 'worker', image: 'mine:2' }] }),
  ).toEqual(['mine:1', 'mine:2'])
})

test("relative host paths start at the file's folder, or at the current one for options", async () => {
  const extraMounts = [{ hostPath: 'files', containerPath: '/files' }]
  const context = { cwd: join(folder, '..'), env: {} }
  const pathOf = async (options: ClusterOptions) =>
    (await resolveClusterSpec(options, context)).nodes[0]?.extraMounts[0]?.hostPath
  expect(await pathOf({ config: 'kind-configs/every-field.yaml' })).toBe(join(folder, 'files'))
  expect(await pathOf({ nodes: [{ extraMounts }] })).toBe(join(folder, '../files'))
  expect(await pathOf({ config: { nodes: [{ extraMounts }] } })).toBe(join(folder, '../files'))
})
