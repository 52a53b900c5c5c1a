import { describe, expect, test } from 'vitest'
import { parse, parseAllDocuments } from 'yaml'
import { certificateSettings } from '../../src/boot/cluster-configuration.ts'
import {
  assertPhasesRun,
  hasOwnKubeletConfiguration,
  kubeadmConfig,
  nodeKubeletConfiguration,
  nodeRegistration,
} from '../../src/boot/kubeadm.ts'
import { type PlannedNode, planCluster } from '../../src/boot/plan.ts'
import { type ClusterOptions, type NodeOptions, resolveClusterSpec } from '../../src/config/index.ts'

async function planned(options: ClusterOptions = {}) {
  const spec = await resolveClusterSpec({ name: 'a', ...options }, { env: {} })
  const plan = planCluster(spec, { ipv4: '172.28.9.0/24', ipv6: 'fd11:2:3:4::/64' })
  return { plan, node: (at: number) => plan.nodes[at] as PlannedNode }
}

async function documents(options: ClusterOptions = {}) {
  const { plan, node } = await planned(options)
  const text = kubeadmConfig(plan, node(0), { kubernetes: 'v1.37.2' })
  const all = parseAllDocuments(text).map((document) => document.toJS() as Record<string, unknown>)
  return Object.fromEntries(all.map((document) => [document['kind'] as string, document]))
}

describe('the configuration for kubeadm init', () => {
  test('has what the specification says', async () => {
    const { InitConfiguration, ClusterConfiguration, KubeletConfiguration, KubeProxyConfiguration } =
      await documents({
        networking: { podSubnet: '10.1.0.0/16', serviceSubnet: '10.2.0.0/16', kubeProxyMode: 'nftables' },
        featureGates: { A: true, B: false },
        runtimeConfig: { 'api/alpha': 'true' },
      })
    expect(InitConfiguration).toMatchObject({
      localAPIEndpoint: { advertiseAddress: '172.28.9.3', bindPort: 6443 },
      nodeRegistration: {
        name: 'a-control-plane',
        kubeletExtraArgs: [{ name: 'node-ip', value: '172.28.9.3' }],
      },
    })
    const gates = { name: 'feature-gates', value: 'A=true,B=false' }
    expect(ClusterConfiguration).toMatchObject({
      kubernetesVersion: 'v1.37.2',
      clusterName: 'a',
      networking: { podSubnet: '10.1.0.0/16', serviceSubnet: '10.2.0.0/16' },
      apiServer: { extraArgs: [gates, { name: 'runtime-config', value: 'api/alpha=true' }] },
      scheduler: { extraArgs: [gates] },
    })
    expect(KubeletConfiguration).toMatchObject({ featureGates: { A: true, B: false } })
    expect(KubeProxyConfiguration).toMatchObject({ mode: 'nftables', featureGates: { A: true, B: false } })
  })

  test('leaves kube-proxy out when asked to', async () => {
    const { InitConfiguration } = await documents({ networking: { kubeProxyMode: 'none' } })
    expect(InitConfiguration).toMatchObject({ skipPhases: ['preflight', 'addon/kube-proxy'] })
    const { InitConfiguration: patched } = await documents({
      networking: { kubeProxyMode: 'none' },
      kubeadmConfigPatches: ['kind: InitConfiguration\nskipPhases: [addon/coredns]\n'],
    })
    expect(patched).toMatchObject({ skipPhases: ['preflight', 'addon/kube-proxy', 'addon/coredns'] })
  })

  const flagsOfControllerManager = async (options: ClusterOptions) => {
    const { ClusterConfiguration } = await documents(options)
    const { extraArgs } = { ...(ClusterConfiguration?.['controllerManager'] as { extraArgs?: Flag[] }) }
    return (extraArgs ?? []).filter(({ name }) => name.startsWith('node-cidr-mask-size'))
  }
  interface Flag {
    name: string
    value: string
  }
  const ipv4Size = (value: string) => ({ name: 'node-cidr-mask-size-ipv4', value })
  const controllerManager = (extraArgs: unknown) =>
    `kind: ClusterConfiguration\ncontrollerManager: ${JSON.stringify({ extraArgs })}\n`

  test('tells the controller manager how much of a small pod subnet each node gets', async () => {
    expect(await flagsOfControllerManager({ networking: { podSubnet: '10.1.0.0/16' } })).toEqual([])
    const networking = { podSubnet: '10.1.0.0/24' }
    expect(await flagsOfControllerManager({ networking })).toEqual([ipv4Size('25')])
    // A list in a patch replaces the one that it meets.
    const other = controllerManager([{ name: 'v', value: '3' }])
    expect(await flagsOfControllerManager({ networking, kubeadmConfigPatches: [other] })).toEqual([
      ipv4Size('25'),
    ])
    const dual = { ipFamily: 'dual', podSubnet: '10.1.0.0/16,fd00::/64' } as const
    expect(await flagsOfControllerManager({ networking: dual })).toEqual([
      { name: 'node-cidr-mask-size-ipv6', value: '65' },
    ])
  })

  test('tells it what a patch says, by the flag that kubeadm checks', async () => {
    const networking = { podSubnet: '10.1.0.0/26' }
    for (const patch of [
      controllerManager([{ name: 'node-cidr-mask-size', value: '28' }]),
      controllerManager([{ name: 'node-cidr-mask-size-ipv4', value: '28' }]),
      controllerManager({ 'node-cidr-mask-size': 28 }),
    ]) {
      expect(await flagsOfControllerManager({ networking, kubeadmConfigPatches: [patch] })).toEqual([
        ipv4Size('28'),
      ])
    }
  })

  test('merge patches: objects merge, lists are replaced, null removes; the node comes after the cluster', async () => {
    const { ClusterConfiguration, KubeProxyConfiguration } = await documents({
      kubeadmConfigPatches: [
        'kind: ClusterConfiguration\nnetworking: {dnsDomain: of.cluster}\nscheduler: {extraArgs: [{name: v, value: "1"}]}\n',
        'kind: KubeProxyConfiguration\niptables: null\n',
      ],
      nodes: [{ kubeadmConfigPatches: ['kind: ClusterConfiguration\nnetworking: {dnsDomain: of.node}\n'] }],
    })
    expect(ClusterConfiguration).toMatchObject({
      networking: { podSubnet: '10.244.0.0/16', dnsDomain: 'of.node' },
      scheduler: { extraArgs: [{ name: 'v', value: '1' }] },
    })
    expect(KubeProxyConfiguration).not.toHaveProperty('iptables')
  })

  test("a patch with kubeadm's older map of flags merges with the list", async () => {
    const { ClusterConfiguration } = await documents({
      featureGates: { A: true },
      kubeadmConfigPatches: [
        'kind: ClusterConfiguration\napiVersion: kubeadm.k8s.io/v1beta3\napiServer:\n  extraArgs: {event-ttl: 2h, v: 4, feature-gates: null}\n',
      ],
    })
    expect(ClusterConfiguration).toMatchObject({
      apiVersion: 'kubeadm.k8s.io/v1beta4',
      apiServer: {
        extraArgs: [
          { name: 'event-ttl', value: '2h' },
          { name: 'v', value: '4' },
        ],
      },
    })
  })

  test('a patch for certificate names keeps those that mayfly itself needs', async () => {
    const { ClusterConfiguration } = await documents({
      kubeadmConfigPatches: ['kind: ClusterConfiguration\napiServer: {certSANs: [api.example, localhost]}\n'],
    })
    expect(ClusterConfiguration).toHaveProperty('apiServer.certSANs', [
      'localhost',
      '127.0.0.1',
      '::1',
      'api.example',
    ])
  })

  test('JSON patches apply to the kind and, where given, the version', async () => {
    const set = (path: string, value: unknown) => [{ op: 'add' as const, path, value }]
    const { KubeletConfiguration } = await documents({
      kubeadmConfigPatchesJSON6902: [
        { kind: 'KubeletConfiguration', patch: set('/maxPods', 5) },
        {
          group: 'kubelet.config.k8s.io',
          version: 'v1beta1',
          kind: 'KubeletConfiguration',
          patch: set('/podPidsLimit', 6),
        },
        {
          group: 'kubelet.config.k8s.io',
          version: 'v1',
          kind: 'KubeletConfiguration',
          patch: set('/registryBurst', 7),
        },
      ],
    })
    expect(KubeletConfiguration).toMatchObject({ maxPods: 5, podPidsLimit: 6 })
    expect(KubeletConfiguration).not.toHaveProperty('registryBurst')
  })

  test('a JSON patch that does not apply is an error that shows the document', async () => {
    const options: ClusterOptions = {
      kubeadmConfigPatchesJSON6902: [
        { kind: 'KubeProxyConfiguration', patch: [{ op: 'replace', path: '/no/such', value: 1 }] },
      ],
    }
    await expect(documents(options)).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining('KubeProxyConfiguration'),
      output: expect.stringContaining('conntrack'),
    })
  })

  test("a node's own KubeletConfiguration stays out: kubeadm would give it to every node", async () => {
    const { KubeletConfiguration } = await documents({
      nodes: [{ kubeadmConfigPatches: ['kind: KubeletConfiguration\nmaxPods: 5\n'] }],
    })
    expect(KubeletConfiguration).not.toHaveProperty('maxPods')
  })
})

test('phases of kubeadm may be left out, but for those that every cluster needs', async () => {
  const skipping = async (...phases: string[]) => {
    const patch = `kind: InitConfiguration\nskipPhases: [${phases.join(', ')}]\n`
    assertPhasesRun((await planned({ nodes: [{ kubeadmConfigPatches: [patch] }] })).plan.spec)
  }
  await skipping('addon', 'addon/coredns', 'mark-control-plane')
  await expect(skipping('addon/coredns', 'control-plane/scheduler', 'etcd')).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringContaining('skip control-plane/scheduler, etcd of `kubeadm init`'),
  })
})

describe('nodes that are restored', () => {
  const init =
    'kind: InitConfiguration\nnodeRegistration:\n  kubeletExtraArgs: {node-labels: "a=1,b=", v: 2}\n'
  const join = 'kind: JoinConfiguration\nnodeRegistration:\n  taints: []\n'

  test('InitConfiguration is for the first control plane, JoinConfiguration for the others', async () => {
    const { plan, node } = await planned({
      nodes: ['worker', 'control-plane', 'control-plane'],
      kubeadmConfigPatches: [init, join],
    })
    expect(nodeRegistration(plan, node(1))).toEqual({
      kubeletArguments: [
        { name: 'node-ip', value: '172.28.9.4' },
        { name: 'node-labels', value: 'a=1,b=' },
        { name: 'v', value: '2' },
      ],
      labels: { a: '1', b: '' },
      taints: undefined,
    })
    for (const other of [node(0), node(2)]) {
      expect(nodeRegistration(plan, other)).toMatchObject({ labels: {}, taints: [] })
    }
  })

  test("taints of the kubelet's flag", async () => {
    const { plan, node } = await planned({
      kubeadmConfigPatches: [
        'kind: InitConfiguration\nnodeRegistration:\n  kubeletExtraArgs: {register-with-taints: "a=1:NoSchedule,b:NoExecute"}\n',
      ],
    })
    expect(nodeRegistration(plan, node(0)).taints).toEqual([
      { key: 'a', value: '1', effect: 'NoSchedule' },
      { key: 'b', effect: 'NoExecute' },
    ])
  })

  test('names for certificates', async () => {
    expect(certificateSettings((await planned()).plan)).toMatchObject({ dnsDomain: 'cluster.local' })
    const { plan } = await planned({
      nodes: [
        'worker',
        {
          kubeadmConfigPatches: [
            'kind: ClusterConfiguration\napiServer: {certSANs: [a.example]}\nnetworking: {dnsDomain: b.test}\n',
          ],
        },
      ],
    })
    expect(certificateSettings(plan)).toEqual({ certSans: ['a.example'], dnsDomain: 'b.test' })
  })

  test("the kubelet's configuration of one node", async () => {
    const patched = async (node: NodeOptions) => {
      const { spec } = (await planned({ nodes: [node] })).node(0)
      return { has: hasOwnKubeletConfiguration(spec), spec }
    }
    const merged = await patched({ kubeadmConfigPatches: [init, 'kind: KubeletConfiguration\nmaxPods: 5\n'] })
    const host = { cpus: 4, memoryBytes: 8 * 2 ** 30 }
    const ofCluster =
      'apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nmaxPods: 110\nfailSwapOn: false\n'
    expect(merged.has).toBe(true)
    expect(parse(nodeKubeletConfiguration(ofCluster, merged.spec, host))).toEqual({
      apiVersion: 'kubelet.config.k8s.io/v1beta1',
      kind: 'KubeletConfiguration',
      maxPods: 5,
      failSwapOn: false,
    })
    expect((await patched({ kubeadmConfigPatches: [init] })).has).toBe(false)
    expect(
      (await patched({ kubeadmConfigPatchesJSON6902: [{ kind: 'KubeletConfiguration', patch: [] }] })).has,
    ).toBe(true)
  })

  test('what a limited node does not get of its host is reserved', async () => {
    const host = { cpus: 4, memoryBytes: 8 * 2 ** 30 }
    const reserved = async (node: NodeOptions) => {
      const { spec } = (await planned({ nodes: ['control-plane', node] })).node(1)
      return parse(nodeKubeletConfiguration('kind: KubeletConfiguration', spec, host)).systemReserved
    }
    expect(await reserved({ role: 'worker', cpus: 1.5, memory: '3Gi' })).toEqual({
      cpu: '2500m',
      memory: `${5 * 2 ** 30}`,
    })
    expect(await reserved({ role: 'worker', memory: '9Gi' })).toEqual({ memory: '0' })
    expect(await reserved({ role: 'worker' })).toBeUndefined()
    // Less than its own pods ask for, and they would not run.
    expect(await reserved({ role: 'control-plane', cpus: 0.5 })).toEqual({ cpu: '3000m' })
  })
})
