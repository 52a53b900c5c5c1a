import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Cluster, createCluster, getCluster, listClusters } from '../../src/index.ts'
import { applyAll, connectKube, list, waitFor } from '../../src/kube/index.ts'
import { until } from '../../src/wait.ts'
import { busybox, httpGet, inPod, namesOf, run, systemPods, webPod } from './pods.ts'

let cluster: Cluster
let controlPlane: string
let worker: string
let worker2: string
const limits = { timeoutMs: 60_000 }

beforeAll(async () => {
  cluster = await createCluster({ nodes: ['control-plane', 'worker', 'worker'] })
  controlPlane = `${cluster.name}-control-plane`
  worker = `${cluster.name}-worker`
  worker2 = `${cluster.name}-worker2`
})
afterAll(() => cluster?.delete())

describe('a new cluster is what kind makes', () => {
  test('namespaces', async () => {
    expect(await namesOf(cluster.kube, 'Namespace')).toEqual([
      'default',
      'kube-node-lease',
      'kube-public',
      'kube-system',
      'local-path-storage',
    ])
  })

  test('pods: one of each component of the control plane, a proxy and a network daemon a node, two of CoreDNS', async () => {
    expect(await systemPods(cluster.kube, cluster.name)).toEqual([
      'coredns-*',
      'coredns-*',
      'etcd-NAME-control-plane',
      'kindnet-*',
      'kindnet-*',
      'kindnet-*',
      'kube-apiserver-NAME-control-plane',
      'kube-controller-manager-NAME-control-plane',
      'kube-proxy-*',
      'kube-proxy-*',
      'kube-proxy-*',
      'kube-scheduler-NAME-control-plane',
    ])
    const [provisioner, ...others] = await namesOf(cluster.kube, 'Pod', 'local-path-storage')
    expect(provisioner).toMatch(/^local-path-provisioner-/)
    expect(others).toEqual([])
  })

  test('every one of them is Ready, as is every node', async () => {
    for (const kind of ['Pod', 'Node']) {
      for (const { metadata, status } of await list(cluster.kube, { apiVersion: 'v1', kind })) {
        const ready = status.conditions.find(({ type }: { type: string }) => type === 'Ready')
        expect(ready.status, metadata.name).toBe('True')
      }
    }
  })

  test('their cgroup weighs no more than others any more, once there is an API server', async () => {
    const weight =
      'cat /sys/fs/cgroup/kubelet/cpu.weight 2>/dev/null || cat /sys/fs/cgroup/cpu/kubelet/cpu.shares'
    for (const node of cluster.nodes)
      expect((await node.exec(['sh', '-ec', weight])).stdout, node.name).toMatch(/^(100|1024)$/m)
  })

  test('each of their programs gives back memory while it is at rest', async () => {
    const told = `cd /proc
      for process in $(grep -l MAYFLY_TRIM_AFTER= [0-9]*/environ); do
        readlink "$(dirname "$process")/exe"
      done`
    const programs = ['containerd', 'coredns', 'etcd', 'kubernetes', 'mayfly-node']
    const { stdout } = await cluster.node(controlPlane).exec(['sh', '-c', told])
    const names = stdout.split('\n').map((path) => path.slice(path.lastIndexOf('/') + 1))
    expect(names).toEqual(expect.arrayContaining(programs))
    // Apart from the kubelet: the API server, the controller manager, the scheduler and kube-proxy.
    expect(names.filter((name) => name.startsWith('kube'))).toHaveLength(5)
  })

  test('no request for a certificate: every kubelet has its own from the beginning', async () => {
    const requests = { apiVersion: 'certificates.k8s.io/v1', kind: 'CertificateSigningRequest' }
    expect(await list(cluster.kube, requests)).toEqual([])
    for (const node of cluster.nodes) {
      const { stdout } = await node.exec(['ls', '/var/lib/kubelet/pki'])
      expect(stdout.match(/kubelet-client-.*/g), node.name).toEqual([
        'kubelet-client-current.pem',
        'kubelet-client-issued.pem',
      ])
    }
  })

  test('Services, ServiceAccount and StorageClass', async () => {
    expect(await namesOf(cluster.kube, 'Service', 'default')).toEqual(['kubernetes'])
    expect(await namesOf(cluster.kube, 'Service', 'kube-system')).toEqual(['kube-dns'])
    expect(await namesOf(cluster.kube, 'ServiceAccount', 'default')).toEqual(['default'])
    const classes = await list(cluster.kube, { apiVersion: 'storage.k8s.io/v1', kind: 'StorageClass' })
    expect(classes.map(({ metadata }) => [metadata.name, metadata.annotations])).toEqual([
      ['standard', expect.objectContaining({ 'storageclass.kubernetes.io/is-default-class': 'true' })],
    ])
  })

  test('kubectl cluster-info, and other kubectl commands with input', async () => {
    const { stdout } = await cluster.kubectl(['cluster-info'])
    expect(stdout).toContain('Kubernetes control plane')
    expect(stdout).toContain('CoreDNS')
    const manifest = JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'piped' } })
    expect((await cluster.kubectl(['apply', '-f', '-'], { stdin: manifest })).stdout).toContain(
      'piped created',
    )
    await expect(cluster.kubectl(['get', 'configmap', 'nowhere'])).rejects.toMatchObject({
      code: 'EXEC_FAILED',
      output: expect.stringContaining('not found'),
    })
    const { exitCode } = await cluster.kubectl(['get', 'configmap', 'nowhere'], { reject: false })
    expect(exitCode).toBe(1)
  })

  test('the kubeconfig is a file that only its user can read', async () => {
    const { mode } = await stat(cluster.kubeconfigPath)
    expect(mode & 0o777).toBe(0o600)
    expect(await readFile(cluster.kubeconfigPath, 'utf8')).toBe(cluster.kubeconfig)
    expect(cluster.kubeconfig).toContain(`current-context: mayfly-${cluster.name}`)
  })
})

describe('pods', () => {
  beforeAll(async () => {
    const service = (name: string, spec: object) => ({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name, namespace: 'default' },
      spec: { selector: { app: 'web' }, ports: [{ port: 80, targetPort: 8080 }], ...spec },
    })
    await run(
      cluster.kube,
      webPod('web', worker),
      webPod('client', worker2),
      service('web', {}),
      service('outside', { type: 'NodePort' }),
    )
  })

  const fetched = (url: string) => httpGet(cluster.kube, 'client', url)

  test('reach pods on another node by address', async () => {
    const { status } = await waitFor(cluster.kube, webPod('web'), { condition: 'Ready' }, limits)
    expect(await fetched(`http://${status.podIP}:8080`)).toMatchObject({ exitCode: 0, stdout: 'web' })
  })

  test('reach them by Service address and by DNS name', async () => {
    const { spec } = await waitFor(
      cluster.kube,
      { apiVersion: 'v1', kind: 'Service', metadata: { name: 'web', namespace: 'default' } },
      { jsonPath: '{.spec.clusterIP}' },
      limits,
    )
    // kube-proxy follows the pods within a moment.
    const answers = (url: string) =>
      until(url, async () => ((await fetched(url)).stdout === 'web' ? true : undefined), limits)
    await answers(`http://${spec.clusterIP}`)
    await answers('http://web')
    await answers('http://web.default.svc.cluster.local')
  })

  test('reach them by NodePort, on every node', async () => {
    const ref = { apiVersion: 'v1', kind: 'Service', metadata: { name: 'outside', namespace: 'default' } }
    const { spec } = await waitFor(cluster.kube, ref, { jsonPath: '{.spec.ports[0].nodePort}' }, limits)
    for (const { addresses } of cluster.nodes) {
      const url = `http://${addresses[0]}:${spec.ports[0].nodePort}`
      await until(url, async () => ((await fetched(url)).stdout === 'web' ? true : undefined), limits)
    }
  })

  test('are reached from this host through a forwarded port', async () => {
    const target = { apiVersion: 'v1', kind: 'Service', metadata: { name: 'web', namespace: 'default' } }
    await using forward = await cluster.portForward(target, 80)
    const response = await fetch(`http://127.0.0.1:${forward.localPort}`)
    expect((await response.text()).trim()).toBe('web')
  })

  test('keep files on a PersistentVolume of the default class', async () => {
    const claim = {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name: 'files', namespace: 'default' },
      spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Mi' } } },
    }
    const pod = (name: string) => {
      const made = webPod(name)
      made.spec.volumes = [{ name: 'files', persistentVolumeClaim: { claimName: 'files' } }]
      made.spec.containers[0].volumeMounts = [{ name: 'files', mountPath: '/files' }]
      return made
    }
    await run(cluster.kube, claim, pod('writer'))
    await inPod(cluster.kube, 'writer', 'sh', '-c', 'echo kept > /files/a')
    await cluster.kubectl(['delete', 'pod', 'writer', '--now'])
    await run(cluster.kube, pod('reader'))
    expect((await inPod(cluster.kube, 'reader', 'cat', '/files/a')).stdout).toBe('kept')
  })

  test('are cut off by a NetworkPolicy, and reached again without it', async () => {
    const policy = {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name: 'nobody', namespace: 'default' },
      spec: { podSelector: { matchLabels: { app: 'web' } }, policyTypes: ['Ingress'] },
    }
    const reached = async (wanted: boolean) =>
      until(
        `web to be ${wanted ? 'reached' : 'cut off'}`,
        async (_, report) => {
          const { exitCode, stdout, stderr } = await httpGet(cluster.kube, 'client', 'http://web')
          report(stdout || stderr)
          return (exitCode === 0) === wanted || undefined
        },
        limits,
      )
    await reached(true)
    await applyAll(cluster.kube, [policy], limits)
    await reached(false)
    await cluster.kubectl(['delete', 'networkpolicy', 'nobody'])
    await reached(true)
  })
})

describe('nodes', () => {
  test('run commands', async () => {
    const node = cluster.node(worker)
    expect(await node.exec(['sh', '-c', 'cat; exit 3'], { stdin: 'in' })).toMatchObject({
      exitCode: 3,
      stdout: 'in',
    })
    expect(await node.logs()).toContain('Reached target')
    expect(() => cluster.node('nobody')).toThrow(/has no node "nobody", only /)
  })

  test.for(['/etc/some/where', '/run/some/where'])('read and write the file %s', async (path) => {
    const node = cluster.node(worker)
    const content = Buffer.from([0, 0xff, 10])
    await node.writeFile(path, content, { mode: 0o750 })
    expect(await node.readFile(path)).toEqual(content)
    const inside = await node.exec(['sh', '-c', `od -An -tx1 ${path} && stat -c %a ${path}`])
    expect(inside.stdout).toBe(' 00 ff 0a\n750\n')
    await expect(node.readFile(`${path}/else`)).rejects.toMatchObject({ code: 'EXEC_FAILED' })
    await expect(node.writeFile(`${path}/else`, '')).rejects.toMatchObject({ code: 'EXEC_FAILED' })
  })

  test('read and write files while they are paused', async () => {
    const node = cluster.node(worker)
    await node.pause()
    try {
      await node.writeFile('/etc/paused', 'text')
      expect(String(await node.readFile('/etc/paused'))).toBe('text')
      await expect(node.readFile('/no/such')).rejects.toThrow(/has no file \/no\/such/)
    } finally {
      await node.unpause()
    }
  })

  test('lose what a kube-proxy of another mode left there', { timeout: 60_000 }, async () => {
    const node = cluster.node(worker)
    const tables = async () => (await node.exec(['nft', 'list', 'tables', 'ip'])).stdout
    await node.exec(['nft', 'add table ip kube-proxy'])
    expect(await tables()).toContain('kube-proxy')
    const onNode = ['-l', 'k8s-app=kube-proxy', '--field-selector', `spec.nodeName=${worker}`]
    await cluster.kubectl(['-n', 'kube-system', 'delete', 'pod', ...onNode])
    await expect.poll(tables, { timeout: 45_000 }).not.toContain('kube-proxy')
  })

  test('stop and start', async () => {
    const node = cluster.node(worker2)
    await node.stop()
    const [{ status, nodes } = { nodes: [] }] = (await listClusters()).filter(
      ({ name }) => name === cluster.name,
    )
    expect(status).toBe('degraded')
    expect(nodes.map(({ name, state }) => [name, state])).toEqual([
      [controlPlane, 'running'],
      [worker, 'running'],
      [worker2, 'exited'],
    ])
    await node.start()
    await run(cluster.kube, webPod('restarted', worker2))
    expect((await inPod(cluster.kube, 'restarted', 'hostname')).stdout).toBe('restarted')
  })

  test('start their kubelet again, however often it ends', async () => {
    const kills = `for n in 1 2 3 4 5 6; do
      until pid=$(pidof kubelet) && test "$pid" != "$last"; do sleep 0.1; done
      kill -9 $pid && last=$pid
    done`
    const node = cluster.node(worker2)
    await node.exec(['timeout', '30', 'bash', '-c', kills])
    const { pid } = await until(
      'the kubelet to be there again',
      async () => {
        const { stdout } = await node.exec(['pidof', 'kubelet'])
        return stdout.trim() ? { pid: stdout.trim() } : undefined
      },
      { timeoutMs: 10_000 },
    )
    expect(Number(pid)).toBeGreaterThan(0)
  })

  test('join later: pods run there and reach those elsewhere', async () => {
    const added = await cluster.addNode({ labels: { tier: 'late' } })
    expect(added.name).toBe(`${cluster.name}-worker3`)
    const pod = webPod('late')
    pod.spec.nodeSelector = { tier: 'late' }
    await run(cluster.kube, pod)
    await until(
      'the new pod to reach the others',
      async () => (await httpGet(cluster.kube, 'late', 'http://web')).stdout === 'web' || undefined,
      limits,
    )
    const { status } = await waitFor(cluster.kube, pod, { condition: 'Ready' }, limits)
    await until(
      'the others to reach the new pod',
      async () =>
        (await httpGet(cluster.kube, 'client', `http://${status.podIP}:8080`)).stdout === 'late' || undefined,
      limits,
    )

    await cluster.removeNode(added.name)
    expect(cluster.nodes.map(({ name }) => name)).toEqual([controlPlane, worker, worker2])
    expect(await namesOf(cluster.kube, 'Node')).toEqual([controlPlane, worker, worker2])
    expect(await namesOf(cluster.kube, 'Pod', 'default')).not.toContain('late')
  })

  test('are refused when they make no sense', async () => {
    await expect(cluster.addNode({ name: worker })).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
    await expect(cluster.removeNode(controlPlane)).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  })
})

test('another handle of the cluster does the same, and its end is not the cluster’s', async () => {
  {
    await using other = await getCluster(cluster.name)
    expect(other.nodes.map(({ name }) => name)).toEqual(cluster.nodes.map(({ name }) => name))
    expect(other.internalKubeconfig).toContain(`server: https://${cluster.nodes[0]?.addresses[0]}:6443`)
    using kube = connectKube(other.kubeconfig)
    expect(await kube.request('GET', '/readyz')).toBe('ok')
  }
  expect(await cluster.kube.request('GET', '/readyz')).toBe('ok')
  await expect(getCluster('no-such')).rejects.toMatchObject({ code: 'CLUSTER_NOT_FOUND' })
})

test('logs, objects and events are exported, without the values of Secrets', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'mayfly-test-'))
  try {
    await run(cluster.kube, {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'password', namespace: 'default' },
      stringData: { word: 'swordfish' },
    })
    await cluster.exportLogs(dir)
    const text = (path: string) => readFile(join(dir, path), 'utf8')
    for (const { name } of cluster.nodes) {
      expect(await text(`${name}/kubelet.log`)).toContain('Started kubelet')
      expect(await text(`${name}/images.log`)).toContain('local-path-helper')
      expect(await text(`${name}/serial.log`)).toContain('Reached target')
      expect(JSON.parse(await text(`${name}/inspect.json`))).toMatchObject({ Name: `/${name}` })
    }
    const pods = await readdir(join(dir, controlPlane, 'pods'), { recursive: true })
    expect(pods.some((file) => /kube-apiserver-.*\/0\.log$/.test(file))).toBe(true)
    expect(await text('objects/default/pods.yaml')).toContain(`image: ${busybox}`)
    expect(await text('objects/cluster-wide/nodes.yaml')).toContain(`name: ${worker2}`)
    const secrets = await text('objects/default/secrets.yaml')
    expect(secrets).toContain('word: (not exported)')
    const everything = await Promise.all(
      (await readdir(join(dir, 'objects'), { recursive: true }))
        .filter((file) => file.endsWith('.yaml'))
        .map((file) => text(join('objects', file))),
    )
    expect(everything.join()).not.toMatch(/swordfish|c3dvcmRmaXNo/)
    expect(await text('events.txt')).toContain('Pod/web')
  } finally {
    await rm(dir, { recursive: true })
  }
})

test('a worker that is stopped keeps nothing of the others from being exported', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'mayfly-test-'))
  const node = cluster.node(worker2)
  try {
    await node.stop({ graceSeconds: 0 })
    await cluster.exportLogs(dir)
    expect(await readFile(join(dir, 'missing.txt'), 'utf8')).toContain(
      `${worker2}/journal.log: the node is exited`,
    )
    expect(await readFile(join(dir, worker2, 'serial.log'), 'utf8')).toContain('Reached target')
    expect(await readFile(join(dir, worker, 'journal.log'), 'utf8')).toContain('kubelet')
  } finally {
    await node.start()
    await rm(dir, { recursive: true })
  }
})
