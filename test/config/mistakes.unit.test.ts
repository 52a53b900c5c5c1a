import { join } from 'node:path'
import { expect, test } from 'vitest'
import { type ClusterOptions, resolveClusterSpec } from '../../src/config/index.ts'
import { isMayflyError, type MayflyError } from '../../src/errors.ts'

const folder = join(import.meta.dirname, '../../fixtures/kind-configs')

/** The error for options whose types TypeScript would often refuse already. */
async function errorOf(options: unknown, env: Record<string, string> = {}): Promise<MayflyError> {
  const outcome = await resolveClusterSpec(options as ClusterOptions, { cwd: folder, env }).catch(
    (error) => error,
  )
  if (!isMayflyError(outcome)) expect.fail(`no MayflyError, but ${JSON.stringify(outcome)}`)
  return outcome
}

async function messageFor(options: unknown, env?: Record<string, string>): Promise<string> {
  const error = await errorOf(options, env)
  expect(error.code).toBe('CONFIG_INVALID')
  return error.message
}

test('a wrong value in every field: each is told with its place, what was seen and what is allowed', async () => {
  expect(await messageFor({ config: 'broken/values.yaml' })).toMatchInlineSnapshot(`
    "The cluster configuration has 40 problems:
      broken/values.yaml:2:7: kind is "Clutser"; allowed: "Cluster"
      broken/values.yaml:4:7: name is "My_Cluster"; allowed: a name of at most 63 lower-case letters, digits, "-" and ".", with a letter or digit at both ends
      broken/values.yaml:6:13: networking.ipFamily is "ipv5"; allowed: ipv4, ipv6, dual; did you mean "ipv4"?
      broken/values.yaml:7:18: networking.apiServerPort is 70000; allowed: a whole number from -1 to 65535 (0 or -1: the engine chooses)
      broken/values.yaml:8:21: networking.apiServerAddress is "localhost"; allowed: an IP address
      broken/values.yaml:9:14: networking.podSubnet is "10.244.0.0/33"; allowed: a CIDR such as "10.244.0.0/16", or one of each family separated by a comma
      broken/values.yaml:10:18: networking.serviceSubnet is "ten"; allowed: a CIDR such as "10.244.0.0/16", or one of each family separated by a comma
      broken/values.yaml:11:22: networking.disableDefaultCNI is "true"; allowed: true or false
      broken/values.yaml:12:18: networking.kubeProxyMode is "iptable"; allowed: iptables, ipvs, nftables, none; did you mean "iptables"?
      broken/values.yaml:13:14: networking.dnsSearch is "corp.example"; allowed: a list
      broken/values.yaml:15:22: featureGates.SidecarContainers is "enabled"; allowed: true or false
      broken/values.yaml:16:3: featureGates["not a gate"] is not a valid key; allowed: a name such as "InPlacePodVerticalScaling"
      broken/values.yaml:18:14: runtimeConfig["api/alpha"] is "maybe"; allowed: "true" or "false"
      broken/values.yaml:19:3: runtimeConfig["Api//alpha"] is not a valid key; allowed: api/all, api/ga, api/beta, api/alpha, GROUP/VERSION or GROUP/VERSION/RESOURCE
      broken/values.yaml:20:8: image is "no image"; allowed: an image reference such as "mayfly/node:v1.37.2"
      broken/values.yaml:22:15: registryMirrors["docker.io"][0] is "ftp://registry:5000"; allowed: an http:// or https:// URL without user, query or fragment
      broken/values.yaml:22:36: registryMirrors["docker.io"][1] is "http://user:***@registry:5000"; allowed: an http:// or https:// URL without user, query or fragment
      broken/values.yaml:23:3: registryMirrors["quay.io/org"] is not a valid key; allowed: a registry host such as "docker.io" or "registry:5000", or "*" for all
      broken/values.yaml:24:12: registryMirrors["ghcr.io"] is empty; allowed: at least one URL
      broken/values.yaml:26:14: proxy.httpProxy is "ftp://proxy"; allowed: a URL such as "http://proxy:3128"
      broken/values.yaml:27:12: proxy.noProxy is an object; allowed: hosts, domains and CIDRs, as a list or separated by commas
      broken/values.yaml:29:9: nodes[0].role is "wroker"; allowed: control-plane, worker; did you mean "worker"?
      broken/values.yaml:32:5: nodes[0].labels["-bad"] is not a valid key; allowed: a label key: an optional DNS prefix and "/", then at most 63 letters, digits, "-", "_", "."
      broken/values.yaml:33:11: nodes[0].labels.good is "not good"; allowed: at most 63 letters, digits, "-", "_" and ".", with a letter or digit at both ends
      broken/values.yaml:35:15: nodes[0].extraMounts[0].hostPath is ""; allowed: a path on the host
      broken/values.yaml:36:20: nodes[0].extraMounts[0].containerPath is "relative"; allowed: an absolute path inside the node, and not "/"
      broken/values.yaml:37:15: nodes[0].extraMounts[0].readOnly is 1; allowed: true or false
      broken/values.yaml:38:21: nodes[0].extraMounts[0].selinuxRelabel is "no way"; allowed: true or false
      broken/values.yaml:39:18: nodes[0].extraMounts[0].propagation is "bidirectional"; allowed: None, HostToContainer, Bidirectional; did you mean "Bidirectional"?
      broken/values.yaml:41:20: nodes[0].extraPortMappings[0].containerPort is 0; allowed: a whole number from 1 to 65535
      broken/values.yaml:42:15: nodes[0].extraPortMappings[0].hostPort is 1.5; allowed: a whole number from -1 to 65535 (0 or -1: the engine chooses)
      broken/values.yaml:43:20: nodes[0].extraPortMappings[0].listenAddress is "300.0.0.1"; allowed: an IP address
      broken/values.yaml:44:15: nodes[0].extraPortMappings[0].protocol is "HTTP"; allowed: TCP, UDP, SCTP
      broken/values.yaml:45:5: nodes[0].extraPortMappings[1].containerPort is missing; allowed: a whole number from 1 to 65535
      broken/values.yaml:46:25: nodes[0].kubeadmConfigPatches is "not-a-list"; allowed: a list
      broken/values.yaml:48:5: nodes[0].kubeadmConfigPatchesJSON6902[0].patch is missing; allowed: JSON or YAML text of a list of operations (RFC 6902)
      broken/values.yaml:49:9: nodes[0].name is "-node"; allowed: a node name of at most 63 lower-case letters, digits, "-" and ".", with a letter or digit at both ends
      broken/values.yaml:50:9: nodes[0].cpus is 0; allowed: a number above 0, such as 1.5
      broken/values.yaml:51:11: nodes[0].memory is "512m"; allowed: bytes, or a quantity such as "512Mi" or "2Gi"; at least 128Mi
      broken/values.yaml:52:3: nodes[1] is 7; allowed: control-plane, worker, or an object"
  `)
})

test('fields that do not exist, with the ones that were probably meant', async () => {
  expect(await messageFor({ config: 'broken/unknown-fields.yaml' })).toMatchInlineSnapshot(`
    "The cluster configuration has 8 problems:
      broken/unknown-fields.yaml:3:1: metadata is not a known field; known here: kind, apiVersion, name, nodes, networking, featureGates, runtimeConfig, kubeadmConfigPatches, kubeadmConfigPatchesJSON6902, containerdConfigPatches, containerdConfigPatchesJSON6902, image, registryMirrors, proxy, controlPlaneOnly
      broken/unknown-fields.yaml:5:1: netwroking is not a known field; did you mean "networking"?
      broken/unknown-fields.yaml:7:3: networking.podSubnets is not a known field; did you mean "podSubnet"?
      broken/unknown-fields.yaml:9:1: nodes has a worker only; allowed: at least one control-plane
      broken/unknown-fields.yaml:10:3: nodes[0].extraMount is not a known field; did you mean "extraMounts"?
      broken/unknown-fields.yaml:13:5: nodes[0].extraPortMappings[0].hostport is not a known field; did you mean "hostPort"?
      broken/unknown-fields.yaml:17:5: nodes[0].kubeadmConfigPatchesJSON6902[0].name is not a known field; known here: group, version, kind, patch
      broken/unknown-fields.yaml:19:3: proxy.http is not a known field; known here: httpProxy, httpsProxy, noProxy"
  `)
})

test('patches that do not parse, apply to nothing, or hold no operations', async () => {
  expect(await messageFor({ config: 'broken/patches.yaml' })).toMatchInlineSnapshot(`
    "The cluster configuration has 18 problems:
      broken/patches.yaml:6:15: kubeadmConfigPatches[0] is not YAML: Flow sequence in block collection must be sufficiently indented and end with a ]
      broken/patches.yaml:7:3: kubeadmConfigPatches[1] has "kind" "KubletConfiguration"; allowed: ClusterConfiguration, InitConfiguration, JoinConfiguration, KubeletConfiguration, KubeProxyConfiguration; did you mean "KubeletConfiguration"?
      broken/patches.yaml:9:3: kubeadmConfigPatches[2] has no "kind"; allowed: ClusterConfiguration, InitConfiguration, JoinConfiguration, KubeletConfiguration, KubeProxyConfiguration
      broken/patches.yaml:11:3: kubeadmConfigPatches[3] has 2 YAML documents; allowed: one
      broken/patches.yaml:15:3: kubeadmConfigPatches[4] has "apiVersion" "kubeadm.k8s.io/v1beta4" for kind KubeletConfiguration; allowed: kubelet.config.k8s.io/VERSION, or none
      broken/patches.yaml:18:3: kubeadmConfigPatches[5] is not a YAML map; allowed: an object with "kind" and the fields to merge
      broken/patches.yaml:19:3: kubeadmConfigPatches[6] is empty
      broken/patches.yaml:22:10: kubeadmConfigPatchesJSON6902[0].patch operation 1: "op" is "ad"; allowed: add, remove, replace, move, copy, test; did you mean "add"?
      broken/patches.yaml:27:10: kubeadmConfigPatchesJSON6902[1].patch operation 1: "value" is missing, which "add" needs
      broken/patches.yaml:29:10: kubeadmConfigPatchesJSON6902[2].patch operation 1: "path" is "a/b"; allowed: a JSON pointer such as /spec/replicas
      broken/patches.yaml:31:10: kubeadmConfigPatchesJSON6902[3].patch is not a list of operations (RFC 6902)
      broken/patches.yaml:32:3: kubeadmConfigPatchesJSON6902[4] has "kind" "ClusterConfig"; allowed: ClusterConfiguration, InitConfiguration, JoinConfiguration, KubeletConfiguration, KubeProxyConfiguration
      broken/patches.yaml:36:3: kubeadmConfigPatchesJSON6902[5] has "group" "kubeadm.k8s.io" and no "version"; allowed: both, or neither
      broken/patches.yaml:39:3: kubeadmConfigPatchesJSON6902[6] has "apiVersion" "apps/v1" for kind ClusterConfiguration; allowed: kubeadm.k8s.io/VERSION, or none
      broken/patches.yaml:46:13: containerdConfigPatches[0] is not TOML: invalid value
      broken/patches.yaml:47:3: containerdConfigPatches[1] is not TOML: incomplete key-value: cannot find end of key
      broken/patches.yaml:49:3: containerdConfigPatchesJSON6902[0] operation 1: "value" is missing, which "test" needs
      broken/patches.yaml:50:3: containerdConfigPatchesJSON6902[1] is not YAML: Flow map in block collection must be sufficiently indented and end with a }"
  `)
})

test('fields that clash with each other', async () => {
  expect(await messageFor({ config: 'broken/clashes.yaml' })).toMatchInlineSnapshot(`
    "The cluster configuration has 6 problems:
      broken/clashes.yaml:8:18: networking.serviceSubnet is "10.96.128.0/20"; allowed: a subnet that does not overlap with podSubnet (10.96.0.0/12)
      broken/clashes.yaml:10:1: nodes has 2 workers only; allowed: at least one control-plane
      broken/clashes.yaml:13:15: nodes[0].extraPortMappings[0].hostPort is 8080, which networking.apiServerPort publishes on the same address already; allowed: each TCP port once
      broken/clashes.yaml:18:9: nodes[1].name is "clashes-worker", which is the name of nodes[0] too; allowed: a name of its own
      broken/clashes.yaml:23:20: nodes[1].extraMounts[1].containerPath is "/data", where nodes[1].extraMounts[0] is mounted already; allowed: each path once a node
      broken/clashes.yaml:29:15: nodes[1].extraPortMappings[1].hostPort is 9090, which nodes[1].extraPortMappings[0].hostPort publishes on the same address already; allowed: each TCP port once"
  `)
})

test('empty values, and values that come in through an anchor, are told where they are written', async () => {
  expect(await messageFor({ config: 'broken/places.yaml' })).toMatchInlineSnapshot(`
    "The cluster configuration has 4 problems:
      broken/places.yaml:2:1: kind is missing; allowed: "Cluster"
      broken/places.yaml:7:10: nodes[0].image is "bad image"; allowed: an image reference such as "mayfly/node:v1.37.2"
      broken/places.yaml:7:10: nodes[1].image is "bad image"; allowed: an image reference such as "mayfly/node:v1.37.2"
      broken/places.yaml:10:2: nodes[2] is null; allowed: control-plane, worker, or an object"
  `)
})

test('an older version of the format', async () => {
  expect(await messageFor({ config: 'broken/old-version.yaml' })).toMatchInlineSnapshot(`
    "The cluster configuration has a problem:
      broken/old-version.yaml:3:13: apiVersion is "kind.sigs.k8s.io/v1alpha3"; allowed: "kind.x-k8s.io/v1alpha4"; kind itself reads older versions no more: change this line, and see to the fields named here"
  `)
})

test('a file that does not say what it is', async () => {
  expect(await messageFor({ config: 'broken/no-type.yaml' })).toMatchInlineSnapshot(`
    "The cluster configuration has 2 problems:
      broken/no-type.yaml:1:1: kind is missing; allowed: "Cluster"
      broken/no-type.yaml:1:1: apiVersion is missing; allowed: "kind.x-k8s.io/v1alpha4""
  `)
})

test('YAML that does not parse', async () => {
  expect(await messageFor({ config: 'broken/syntax.yaml' })).toMatchInlineSnapshot(`
    "The cluster configuration has 2 problems:
      broken/syntax.yaml:4:9: Nested mappings are not allowed in compact mappings
      broken/syntax.yaml:7:1: Map keys must be unique"
  `)
})

test('an alias without its anchor', async () => {
  expect(await messageFor({ config: 'broken/unknown-anchor.yaml' })).toMatchInlineSnapshot(`
    "The cluster configuration has a problem:
      broken/unknown-anchor.yaml:3:8: there is no anchor "&nowhere" before this alias"
  `)
})

test('aliases that multiply without end', async () => {
  expect(await messageFor({ config: 'broken/alias-bomb.yaml' })).toMatchInlineSnapshot(`
    "The cluster configuration has a problem:
      broken/alias-bomb.yaml:1:1: Excessive alias count indicates a resource exhaustion attack"
  `)
})

test('an empty file', async () => {
  expect(await messageFor({ config: 'broken/empty.yaml' })).toMatchInlineSnapshot(`
    "The cluster configuration has a problem:
      broken/empty.yaml:1:1: the file is empty; allowed: a Cluster of kind.x-k8s.io/v1alpha4"
  `)
})

test('a file with two documents', async () => {
  expect(await messageFor({ config: 'broken/two-documents.yaml' })).toMatchInlineSnapshot(`
    "The cluster configuration has a problem:
      broken/two-documents.yaml:4:1: a second YAML document begins here; allowed: one document a file"
  `)
})

test('a file that is a list', async () => {
  expect(await messageFor({ config: 'broken/list.yaml' })).toMatchInlineSnapshot(`
    "The cluster configuration has a problem:
      broken/list.yaml:1:1: the file is a list; allowed: an object"
  `)
})

test('a file that is not there, with the one that was probably meant', async () => {
  const error = await errorOf({ config: 'minimal.yml' })
  expect(error.code).toBe('CONFIG_UNREADABLE')
  expect(error.message).toMatchInlineSnapshot(`
    "There is no cluster configuration at minimal.yml
    → Did you mean minimal.yaml?"
  `)
  expect((await errorOf({ config: '/nowhere/kind.yaml' })).message).toMatchInlineSnapshot(`
    "There is no cluster configuration at /nowhere/kind.yaml
    → Looked for /nowhere/kind.yaml"
  `)
})

test('a folder in place of a file', async () => {
  const error = await errorOf({ config: 'broken' })
  expect(error.code).toBe('CONFIG_UNREADABLE')
  expect(error.message).toMatchInlineSnapshot(
    `"Could not read the cluster configuration broken: it is a folder"`,
  )
})

test('plain options are named by their paths', async () => {
  const options = {
    name: 'Mine',
    nodes: ['wroker', { rol: 'worker' }, { extraPortMappings: [{ hostPort: 70000 }] }, 5, undefined],
    netwroking: {},
    networking: { podSubnet: ['10.0.0.0/16', 'banana'], dnsSearch: ['a b'], disableDefaultCNI: null },
    proxy: true,
    registryMirrors: ['http://registry:5000'],
    config: 5,
    kubeadmConfigPatches: ['kind: ClusterConfiguration\napiServer: ]'],
    image: () => 'node',
    featureGates: 'A'.repeat(100),
  }
  expect(await messageFor(options)).toMatchInlineSnapshot(`
    "The cluster configuration has 17 problems:
      name is "Mine"; allowed: a name of at most 63 lower-case letters, digits, "-" and ".", with a letter or digit at both ends
      nodes[0].role is "wroker"; allowed: control-plane, worker; did you mean "worker"?
      nodes[1].rol is not a known field; did you mean "role"?
      nodes[2].extraPortMappings[0].containerPort is missing; allowed: a whole number from 1 to 65535
      nodes[2].extraPortMappings[0].hostPort is 70000; allowed: a whole number from -1 to 65535 (0 or -1: the engine chooses)
      nodes[3] is 5; allowed: control-plane, worker, or an object
      nodes[4] is missing; allowed: control-plane, worker, or an object
      networking.podSubnet is ["10.0.0.0/16","banana"]; allowed: a CIDR such as "10.244.0.0/16", or one of each family separated by a comma
      networking.disableDefaultCNI is null; allowed: true or false
      networking.dnsSearch[0] is "a b"; allowed: a DNS domain
      featureGates is "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA…; allowed: an object
      kubeadmConfigPatches[0] is not YAML: Unexpected flow-seq-end token in YAML stream: "]" (line 2, column 12)
      image is a function; allowed: an image reference such as "mayfly/node:v1.37.2"
      registryMirrors is ["http://registry:5000"]; allowed: an object
      proxy is true; allowed: false, or an object with httpProxy, httpsProxy and noProxy
      config is 5; allowed: the path of a kind v1alpha4 YAML file, or its content as an object
      netwroking is not a known field; did you mean "networking"?"
  `)
})

test('an inline object is named as what it is', async () => {
  const config = { kind: 'Cluster', apiVersion: 'k3d.io/v1alpha5', nodes: [{ role: 'agent' }], servers: 1 }
  expect(await messageFor({ config })).toMatchInlineSnapshot(`
    "The cluster configuration has 3 problems:
      config.apiVersion is "k3d.io/v1alpha5"; allowed: "kind.x-k8s.io/v1alpha4"
      config.nodes[0].role is "agent"; allowed: control-plane, worker
      config.servers is not a known field; known here: kind, apiVersion, name, nodes, networking, featureGates, runtimeConfig, kubeadmConfigPatches, kubeadmConfigPatchesJSON6902, containerdConfigPatches, containerdConfigPatchesJSON6902, image, registryMirrors, proxy, controlPlaneOnly"
  `)
})

test('mistakes in options and in the file are told together, each where it stands', async () => {
  expect(
    await messageFor({
      config: 'every-field.yaml',
      name: 'a_b',
      networking: { apiServerPort: 8080, serviceSubnet: '10.10.128.0/20,fd00:1::/112' },
      featureGates: { A: 1 },
    }),
  ).toMatchInlineSnapshot(`
    "The cluster configuration has 3 problems:
      name is "a_b"; allowed: a name of at most 63 lower-case letters, digits, "-" and ".", with a letter or digit at both ends
      featureGates.A is 1; allowed: true or false
      networking.serviceSubnet is "10.10.128.0/20,fd00:1::/112"; allowed: a subnet that does not overlap with podSubnet (10.10.0.0/16,fd00:10:10::/56)"
  `)
  expect(
    await messageFor({
      config: 'broken/no-type.yaml',
      nodes: ['worker'],
      networking: { apiServerPort: 8080 },
    }),
  ).toMatchInlineSnapshot(`
    "The cluster configuration has 3 problems:
      nodes has a worker only; allowed: at least one control-plane
      broken/no-type.yaml:1:1: kind is missing; allowed: "Cluster"
      broken/no-type.yaml:1:1: apiVersion is missing; allowed: "kind.x-k8s.io/v1alpha4""
  `)
})

test('what is wrong with a value of the file because of an option is told where the value stands', async () => {
  expect(
    await messageFor({ config: 'every-field.yaml', networking: { ipFamily: 'ipv4' } }),
  ).toMatchInlineSnapshot(`
    "The cluster configuration has 2 problems:
      every-field.yaml:9:14: networking.podSubnet is "10.10.0.0/16,fd00:10:10::/56"; allowed: one IPv4 CIDR, as ipFamily is ipv4
      every-field.yaml:10:18: networking.serviceSubnet is "10.11.0.0/16,fd00:10:11::/112"; allowed: one IPv4 CIDR, as ipFamily is ipv4"
  `)
})

test('options that are no object', async () => {
  expect(await messageFor('kind.yaml')).toMatchInlineSnapshot(`
    "The cluster configuration has a problem:
      options is "kind.yaml"; allowed: an object"
  `)
  expect(await messageFor(null)).toMatchInlineSnapshot(`
    "The cluster configuration has a problem:
      options is null; allowed: an object"
  `)
})

test('a node image of the environment is checked when it is used', async () => {
  const env = { MAYFLY_NODE_IMAGE: 'Mayfly/Node:' }
  expect(await messageFor({}, env)).toMatchInlineSnapshot(`
    "The cluster configuration has a problem:
      MAYFLY_NODE_IMAGE of the environment is "Mayfly/Node:"; allowed: an image reference such as "mayfly/node:v1.37.2""
  `)
  await expect(resolveClusterSpec({ image: 'node' }, { env })).resolves.toBeDefined()
})

test('a name that makes the names of nodes longer than a hostname', async () => {
  const nodes = ['control-plane', 'control-plane']
  expect(await messageFor({ name: 'n'.repeat(49), nodes })).toMatchInlineSnapshot(`
    "The cluster configuration has a problem:
      name is "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn", 49 characters; allowed: at most 48, as the names of nodes begin with it and end at 63"
  `)
})

const subnetMistakes: { networking: ClusterOptions['networking']; says: string; workers?: number }[] = [
  {
    networking: { podSubnet: 'fd00::/56' },
    says: 'podSubnet is "fd00::/56"; allowed: one IPv4 CIDR, as ipFamily is ipv4',
  },
  {
    networking: { ipFamily: 'ipv6', serviceSubnet: '10.0.0.0/16' },
    says: 'serviceSubnet is "10.0.0.0/16"; allowed: one IPv6 CIDR, as ipFamily is ipv6',
  },
  {
    networking: { podSubnet: '10.0.0.0/16,10.1.0.0/16' },
    says: 'podSubnet is "10.0.0.0/16,10.1.0.0/16"; allowed: one IPv4 CIDR, as ipFamily is ipv4',
  },
  {
    networking: { ipFamily: 'dual', podSubnet: '10.0.0.0/16' },
    says: 'podSubnet is "10.0.0.0/16"; allowed: one IPv4 and one IPv6 CIDR, as ipFamily is dual',
  },
  {
    networking: { ipFamily: 'dual', podSubnet: '10.0.0.0/16,10.1.0.0/16' },
    says: 'podSubnet is "10.0.0.0/16,10.1.0.0/16"; allowed: one IPv4 and one IPv6 CIDR, as ipFamily is dual',
  },
  {
    networking: {
      ipFamily: 'dual',
      podSubnet: '10.0.0.0/16,fd00::/56',
      serviceSubnet: 'fd01::/112,10.1.0.0/16',
    },
    says:
      'serviceSubnet is "fd01::/112,10.1.0.0/16"; allowed: the families in the order of podSubnet ' +
      "(10.0.0.0/16,fd00::/56), the first being the cluster's primary one",
  },
  {
    networking: { serviceSubnet: '10.244.255.0/24' },
    says: 'serviceSubnet is "10.244.255.0/24"; allowed: a subnet that does not overlap with podSubnet (10.244.0.0/16)',
  },
  {
    networking: { serviceSubnet: '10.0.0.0/29' },
    says: 'serviceSubnet is "10.0.0.0/29"; allowed: a subnet of at least 16 addresses (a prefix of /28 or shorter)',
  },
  {
    networking: { podSubnet: '10.0.0.0/27' },
    workers: 2,
    says: 'podSubnet is "10.0.0.0/27"; allowed: a prefix of /26 or shorter (nodes: 3, and room for one more; each gets a /28 of it at least)',
  },
  {
    networking: { ipFamily: 'ipv6', podSubnet: 'fd00::/124' },
    says: 'podSubnet is "fd00::/124"; allowed: a prefix of /123 or shorter (nodes: 1, and room for one more; each gets a /124 of it at least)',
  },
]

test.each(subnetMistakes)('subnets that do not fit: $says', async ({ networking, says, workers = 0 }) => {
  const nodes = ['control-plane', ...Array.from({ length: workers }, () => 'worker')]
  expect(await messageFor({ networking, nodes })).toBe(
    `The cluster configuration has a problem:\n  networking.${says}`,
  )
})

test('a clash with a field that is broken itself is not told', async () => {
  // With the default in place of the broken one, the other would be wrong too.
  const networkings = [
    { podSubnet: 'banana', serviceSubnet: '10.244.0.0/20' },
    { ipFamily: 'ipv7', podSubnet: 'fd00::/56' },
  ]
  for (const networking of networkings) expect(await messageFor({ networking })).toContain('has a problem:')
})

test.each(['http://user@a', 'http://:secret@a', 'http://a?b', 'http://a#b', 'registry:5000', 'http:a', ''])(
  'mirror %j is refused',
  async (url) => {
    expect(await messageFor({ registryMirrors: { 'docker.io': url } })).toContain(
      'allowed: an http:// or https:// URL',
    )
  },
)

test.each(['a/b/c', '/a', 'A.b/c', '-a', 'a-', 'a'.repeat(64), `${'a'.repeat(254)}/b`])(
  'label key %j is refused',
  async (key) => {
    expect(await messageFor({ nodes: [{ labels: { [key]: '' } }] })).toContain('is not a valid key')
  },
)

test.each(['a'.repeat(64), 'a..b', '.a', 'a_b', 'A', 'a-'])('node name %j is refused', async (name) => {
  expect(await messageFor({ nodes: [{ name }] })).toContain('nodes[0].name is')
})

test.each(['512', '512m', '512MB', 'lots', 1.5e9 + 0.5, -1, '127Mi'])(
  'memory %s is refused',
  async (memory) => {
    expect(await messageFor({ nodes: [{ memory }] })).toContain(
      `nodes[0].memory is ${JSON.stringify(memory)}; allowed: bytes, or a quantity such as "512Mi" or "2Gi"; at least 128Mi`,
    )
  },
)

test.each(['10.0.0.0', '10.0.0/16', '10.0.0.0/016', '10.0.0.0/33', 'fd00::/129', 'fe80::%eth0/64', ''])(
  'CIDR %j is refused',
  async (podSubnet) => {
    expect(await messageFor({ networking: { podSubnet } })).toContain(
      `networking.podSubnet is ${JSON.stringify(podSubnet)}; allowed: a CIDR`,
    )
  },
)

test('passwords in URLs are not shown', async () => {
  const message = await messageFor({ proxy: { httpProxy: 'ftp://user:secret@proxy' } })
  expect(message).toContain('proxy.httpProxy is "ftp://user:***@proxy"')
})
