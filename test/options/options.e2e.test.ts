import { execFileSync } from 'node:child_process'
import { Resolver } from 'node:dns/promises'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { networkInterfaces, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Cluster, createCluster } from '../../src/index.ts'
import { until } from '../../src/wait.ts'

/** An address of this host that nodes reach. */
const hostAddress = Object.values(networkInterfaces())
  .flat()
  .find((address) => address && !address.internal && address.family === 'IPv4')?.address

/** A registry that has nothing and remembers what it was asked for. */
const asked: string[] = []
const registry = createServer((request, response) => {
  asked.push(request.url ?? '')
  response.writeHead(404).end()
})

const folder = mkdtempSync(join(tmpdir(), 'mayfly-options-'))
const [hostPort, udpPort, apiServerPort] = [28080, 28053, 26443]

const controlPlanePatches = [
  // As many write it for kind's ingress recipe: the flags as a map, which kubeadm had up to v1beta3.
  'kind: InitConfiguration\nnodeRegistration:\n  kubeletExtraArgs:\n    node-labels: ingress-ready=true\n',
  'kind: ClusterConfiguration\nnetworking: {dnsDomain: corp.test}\napiServer:\n  certSANs: [api.example]\n  extraArgs: {event-ttl: 2h}\n',
]
const featureGates = { NodeLogQuery: true }
const runtimeConfig = { 'api/alpha': 'true' }
const clusterPatches = {
  kubeadmConfigPatches: ['kind: KubeletConfiguration\nmaxPods: 77\n'],
  kubeadmConfigPatchesJSON6902: [
    {
      group: 'kubeadm.k8s.io',
      version: 'v1beta4',
      kind: 'ClusterConfiguration',
      patch: '- {op: add, path: /scheduler/extraArgs/-, value: {name: v, value: "3"}}',
    },
  ],
}

let cluster: Cluster

beforeAll(async () => {
  await new Promise((listening) => registry.listen(0, '0.0.0.0', () => listening(undefined)))
  const registryUrl = `http://${hostAddress}:${(registry.address() as AddressInfo).port}`
  // Mounts travel only below a mount that is shared.
  execFileSync('mount', ['-t', 'tmpfs', 'mayfly', folder])
  execFileSync('mount', ['--make-rshared', folder])
  writeFileSync(join(folder, 'hello'), 'hello from the host')
  cluster = await createCluster({
    nodes: [
      {
        role: 'control-plane',
        labels: { tier: 'front' },
        extraMounts: [
          { hostPath: folder, containerPath: '/mnt/read-only', readOnly: true },
          { hostPath: folder, containerPath: '/mnt/following', propagation: 'HostToContainer' },
          { hostPath: folder, containerPath: '/mnt/both', propagation: 'Bidirectional' },
        ],
        extraPortMappings: [
          { containerPort: 30080, hostPort, listenAddress: '127.0.0.1' },
          { containerPort: 30053, hostPort: udpPort, listenAddress: '127.0.0.1', protocol: 'UDP' },
          { containerPort: 30081, listenAddress: '127.0.0.1' },
        ],
        kubeadmConfigPatches: controlPlanePatches,
      },
      {
        role: 'worker',
        cpus: 1.5,
        memory: '1500Mi',
        kubeadmConfigPatches: [
          'kind: JoinConfiguration\nnodeRegistration:\n  taints:\n  - {key: dedicated, value: db, effect: NoSchedule}\n  kubeletExtraArgs:\n  - {name: v, value: "3"}\n',
          'kind: KubeletConfiguration\nmaxPods: 42\n',
        ],
        kubeadmConfigPatchesJSON6902: [
          { kind: 'KubeletConfiguration', patch: [{ op: 'add', path: '/podPidsLimit', value: 777 }] },
        ],
      },
    ],
    networking: {
      podSubnet: '10.77.0.0/24',
      serviceSubnet: '10.78.0.0/16',
      apiServerPort,
      apiServerAddress: '0.0.0.0',
      dnsSearch: ['corp.example'],
      kubeProxyMode: 'nftables',
    },
    featureGates,
    runtimeConfig,
    ...clusterPatches,
    containerdConfigPatches: [
      '[plugins."io.containerd.cri.v1.runtime"]\nmax_container_log_line_size = 4242\n',
      'version = 2\nimports = ["/for-another-version.toml"]\n',
    ],
    containerdConfigPatchesJSON6902: ['[{"op": "add", "path": "/debug", "value": {"level": "debug"}}]'],
    registryMirrors: { 'docker.io': registryUrl, '*': `${registryUrl}/all` },
    proxy: {
      httpProxy: 'http://192.0.2.250:3128',
      httpsProxy: 'http://192.0.2.250:3128',
      noProxy: ['.example', hostAddress ?? ''],
    },
  })
})

afterAll(async () => {
  await cluster?.delete()
  execFileSync('umount', ['--recursive', '--lazy', folder])
  rmSync(folder, { recursive: true })
  registry.close()
})

/** Runs a shell command on a node, the n-th of the cluster, and gives what it printed. */
async function on(node: number, command: string): Promise<string> {
  const { stdout, stderr } = (await cluster.nodes[node]?.exec(['sh', '-c', command])) ?? {}
  return `${stdout}${stderr}`.trim()
}

interface NodeObject {
  metadata: { name: string; labels: Record<string, string> }
  spec: { podCIDR: string; taints?: unknown[] }
  status: { allocatable: Record<string, string> }
}

async function nodeObjects(): Promise<NodeObject[]> {
  return ((await cluster.kube.request('GET', '/api/v1/nodes')) as { items: NodeObject[] }).items
}

describe('nodes', () => {
  test('labels are on the Node object, those of the kubelet flag too', async () => {
    const [controlPlane] = await nodeObjects()
    expect(controlPlane?.metadata.labels).toMatchObject({ tier: 'front', 'ingress-ready': 'true' })
  })

  test('extraMounts: read-only, and mounts made later travel as asked', async () => {
    execFileSync('mkdir', [join(folder, 'later')])
    execFileSync('mount', ['-t', 'tmpfs', 'mayfly', join(folder, 'later')])
    writeFileSync(join(folder, 'later', 'seen'), '')
    expect(await on(0, 'cat /mnt/read-only/hello')).toBe('hello from the host')
    expect(await on(0, 'touch /mnt/read-only/x')).toContain('Read-only file system')
    expect(await on(0, 'ls /mnt/following/later')).toBe('seen')
    expect(await on(0, 'ls /mnt/read-only/later')).toBe('')
    await on(
      0,
      'mkdir /mnt/both/from-node && mount -t tmpfs mayfly /mnt/both/from-node && touch /mnt/both/from-node/seen',
    )
    expect(execFileSync('ls', [join(folder, 'from-node')], { encoding: 'utf8' })).toBe('seen\n')
  })

  test('a mount that travels both ways takes nothing along that pods mount', async () => {
    const found = execFileSync('docker', [
      'inspect',
      '--format',
      '{{json .Mounts}}',
      cluster.nodes[0]?.name ?? '',
    ])
    const volumes = (JSON.parse(String(found)) as { Type: string; Source: string }[]).filter(
      ({ Type }) => Type === 'volume',
    )
    expect(volumes.length).toBeGreaterThan(0)
    // What is mounted on the host below a volume keeps the engine from deleting it. The engine's own mount of a volume,
    // as the one that leads to its image store has, does not.
    const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    for (const { Source } of volumes) expect(mounts).not.toContain(`${Source}/`)
  })

  test('extraPortMappings lead into the node, for TCP and UDP, at the address given', async () => {
    const { stdout } = {
      stdout: execFileSync('docker', ['port', cluster.nodes[0]?.name ?? ''], { encoding: 'utf8' }),
    }
    expect(stdout).toContain(`30080/tcp -> 127.0.0.1:${hostPort}`)
    expect(stdout).toContain(`30053/udp -> 127.0.0.1:${udpPort}`)
    // Chosen when the node was made, and not by the engine, which would choose another one at each start.
    const chosen = cluster.spec.nodes[0]?.extraPortMappings[2]?.hostPort ?? 0
    expect(chosen).toBeGreaterThan(0)
    expect(stdout).toContain(`30081/tcp -> 127.0.0.1:${chosen}`)
    expect(stdout).toContain(`6443/tcp -> 0.0.0.0:${apiServerPort}`)
    expect(cluster.kubeconfig).toContain(`https://127.0.0.1:${apiServerPort}`)
  })

  test('what is published is answered by NodePorts behind it', async () => {
    const service = {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'dns-for-the-host', namespace: 'kube-system' },
      spec: {
        type: 'NodePort',
        selector: { 'k8s-app': 'kube-dns' },
        ports: [
          { name: 'metrics', port: 9153, nodePort: 30080 },
          { name: 'dns', protocol: 'UDP', port: 53, nodePort: 30053 },
        ],
      },
    }
    await cluster.kube.request('POST', '/api/v1/namespaces/kube-system/services', { body: service })
    const limits = { timeoutMs: 20_000 }
    const metrics = await until(
      'the metrics over TCP',
      async () => (await fetch(`http://127.0.0.1:${hostPort}/metrics`)).text(),
      limits,
    )
    expect(metrics).toContain('coredns_')
    const resolver = new Resolver({ timeout: 1000, tries: 1 })
    resolver.setServers([`127.0.0.1:${udpPort}`])
    const name = 'kubernetes.default.svc.corp.test'
    expect(await until('the answer over UDP', () => resolver.resolve4(name), limits)).toEqual(['10.78.0.1'])
  })

  test('limits hold for the container, and are what its node offers pods', async () => {
    const limits = '{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}'
    const seen = execFileSync('docker', ['inspect', '--format', limits, cluster.nodes[1]?.name ?? ''])
    expect(String(seen).trim()).toBe(`${1500 * 2 ** 20} 1500000000`)
    const [, worker] = await nodeObjects()
    expect(worker?.status.allocatable).toMatchObject({ cpu: '1500m', memory: '1500Mi' })
  })
})

describe('kubeadm patches on restored nodes', () => {
  test('KubeletConfiguration of the cluster reaches all nodes, that of a node only this one', async () => {
    const pods = (await nodeObjects()).map(({ status }) => status.allocatable['pods'])
    expect(pods).toEqual(['77', '42'])
    expect(await on(0, 'grep podPidsLimit /var/lib/kubelet/config.yaml')).toBe('')
    expect(await on(1, 'grep podPidsLimit /var/lib/kubelet/config.yaml')).toBe('podPidsLimit: 777')
  })

  test("a JoinConfiguration's taints and kubelet flags", async () => {
    const [, worker] = await nodeObjects()
    expect(worker?.spec.taints).toEqual([{ key: 'dedicated', value: 'db', effect: 'NoSchedule' }])
    expect(await on(1, 'tr "\\0" " " < /proc/$(pidof kubelet)/cmdline')).toContain(' --v=3 ')
  })

  test('ClusterConfiguration: flags, certificate names and the DNS domain', async () => {
    expect(await on(0, 'tr "\\0" " " < /proc/$(pidof kube-apiserver)/cmdline')).toContain('--event-ttl=2h')
    expect(await on(0, 'tr "\\0" " " < /proc/$(pidof kube-scheduler)/cmdline')).toContain('--v=3')
    const certificate = await cluster.nodes[0]?.readFile('/etc/kubernetes/pki/apiserver.crt')
    const { X509Certificate } = await import('node:crypto')
    const names = new X509Certificate(certificate ?? '').subjectAltName
    expect(names).toContain('DNS:api.example')
    expect(names).toContain('DNS:kubernetes.default.svc.corp.test')
    expect(await on(1, 'grep clusterDomain /var/lib/kubelet/config.yaml')).toBe('clusterDomain: corp.test')
  })
})

describe('the cluster', () => {
  test('subnets of pods and Services', async () => {
    expect((await nodeObjects()).map(({ spec }) => spec.podCIDR)).toEqual(['10.77.0.0/26', '10.77.0.64/26'])
    const service = (await cluster.kube.request('GET', '/api/v1/namespaces/default/services/kubernetes')) as {
      spec: { clusterIP: string }
    }
    expect(service.spec.clusterIP).toBe('10.78.0.1')
  })

  test('kube-proxy works with nftables', async () => {
    expect(await on(1, 'nft list tables')).toContain('kube-proxy')
    expect(await on(1, 'iptables-save -t nat | grep -c KUBE-SERVICES')).toBe('0')
  })

  test('such a kube-proxy knows its own rules when it is started again', async () => {
    const proxy = await on(1, 'pidof kube-proxy')
    await on(1, `kill ${proxy}`)
    const another = (pid: string) => /^\d+$/.test(pid) && pid !== proxy
    await expect
      .poll(() => on(1, 'pidof kube-proxy || echo none'), { timeout: 30_000 })
      .toSatisfy(another, 'another process')
    // What is made now is there as soon as it has gone through all rules.
    await cluster.kubectl(['create', 'service', 'clusterip', 'made-later', '--tcp=80'])
    const address = await cluster.kubectl(['get', 'service', 'made-later', '-o=jsonpath={.spec.clusterIP}'])
    const known = () => on(1, 'nft list set ip kube-proxy cluster-ips')
    await expect.poll(known, { timeout: 30_000 }).toContain(address.stdout)
    expect(await on(1, 'nft list map ip kube-proxy service-ips')).toContain('. tcp . 443 : goto')
  })

  test('runtimeConfig and featureGates', async () => {
    const { groups } = (await cluster.kube.request('GET', '/apis')) as {
      groups: { versions: { groupVersion: string }[] }[]
    }
    const versions = groups.flatMap((group) => group.versions.map(({ groupVersion }) => groupVersion))
    expect(versions).toContain('internal.apiserver.k8s.io/v1alpha1')
    expect(await on(0, 'tr "\\0" " " < /proc/$(pidof kube-apiserver)/cmdline')).toContain(
      '--feature-gates=NodeLogQuery=true',
    )
    expect(await on(1, 'grep -A1 featureGates /var/lib/kubelet/config.yaml')).toContain('NodeLogQuery: true')
  })

  test('dnsSearch is what nodes, and pods through them, search', async () => {
    expect(await on(0, 'grep ^search /etc/resolv.conf')).toBe('search corp.example')
  })
})

describe('containerd', () => {
  test('its patches apply, but for one that is for another version of the format', async () => {
    const config = await on(1, 'containerd config dump 2>/dev/null')
    expect(config).toContain('max_container_log_line_size = 4242')
    expect(config).toMatch(/level = ['"]debug['"]/)
    expect(config).not.toContain('for-another-version')
  })

  test('pulls go to the mirror of the registry, or to the one for all', async () => {
    await on(1, 'timeout 20 crictl pull docker.io/library/nothing:1')
    await on(1, 'timeout 20 crictl pull registry.example/some/thing:2')
    expect(asked).toContain('/v2/library/nothing/manifests/1?ns=docker.io')
    expect(asked).toContain('/all/v2/some/thing/manifests/2?ns=registry.example')
  })

  test('it and the kubelet know the proxy, and what needs none', async () => {
    for (const program of ['containerd', 'kubelet']) {
      const environment = await on(1, `tr "\\0" "\\n" < /proc/$(pidof ${program})/environ`)
      expect(environment).toContain('HTTPS_PROXY=http://192.0.2.250:3128')
      const [direct] = /^NO_PROXY=.*$/m.exec(environment) ?? []
      expect(direct).toContain('.example')
      expect(direct).toContain('control-plane.mayfly.internal')
      expect(direct).toContain('10.77.0.0/24')
      expect(direct).toMatch(/,172\.\d+\.\d+\.0\/24$/)
    }
  })
})

describe('the second boot of a configuration makes no snapshot first', () => {
  const steps = ({ timings }: Cluster) => timings.map(({ step }) => step)

  test('of one that needs a snapshot of its own: the first boot left it', async () => {
    const networking = {
      podSubnet: '10.77.0.0/24',
      serviceSubnet: '10.78.0.0/16',
      kubeProxyMode: 'nftables',
    } as const
    const options = {
      networking,
      featureGates,
      runtimeConfig,
      nodes: [{ kubeadmConfigPatches: controlPlanePatches }],
    }
    await using second = await createCluster({ ...options, ...clusterPatches })
    expect(steps(second)).not.toContainEqual(expect.stringMatching(/^Bake/))
  })

  test("of one that differs in what is a node's own: the default's fits", async () => {
    await using other = await createCluster({
      nodes: [{ kubeadmConfigPatches: ['kind: KubeletConfiguration\nmaxPods: 55\n'] }],
      registryMirrors: { 'docker.io': 'http://192.0.2.1' },
      containerdConfigPatches: ['[debug]\nlevel = "info"\n'],
    })
    expect(steps(other)).not.toContainEqual(expect.stringMatching(/^Bake/))
    const { items } = (await other.kube.request('GET', '/api/v1/nodes')) as { items: NodeObject[] }
    expect(items[0]?.status.allocatable['pods']).toBe('55')
  })
})
