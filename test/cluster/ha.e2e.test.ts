import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { connectEngine, execOrThrow, inspectContainer, listContainers } from '../../src/engine/index.ts'
import { type Cluster, createCluster } from '../../src/index.ts'
import { connectKube, list, waitFor } from '../../src/kube/index.ts'
import { label } from '../../src/reaper/index.ts'
import { inPod, run, webPod } from './pods.ts'

let cluster: Cluster

beforeAll(async () => {
  const nodes = ['control-plane', 'control-plane', 'control-plane', 'worker', 'worker'] as const
  cluster = await createCluster({ nodes: [...nodes], timeoutMs: 280_000 })
})
afterAll(() => cluster?.delete())

/** Asks for the namespaces over so many connections, each a new one, and says how often that worked. */
async function answers(count: number): Promise<number> {
  const outcomes = await Promise.all(
    Array.from({ length: count }, async () => {
      using kube = connectKube(cluster.kubeconfig)
      return kube.request('GET', '/api/v1/namespaces').then(
        () => 1,
        () => 0,
      )
    }),
  )
  return outcomes.reduce<number>((sum, one) => sum + one, 0)
}

describe('three control planes and two workers', () => {
  test('every control plane runs one of each component, and pods stay off them', async () => {
    const pods = await list(cluster.kube, { apiVersion: 'v1', kind: 'Pod' }, { namespace: 'kube-system' })
    for (const component of ['etcd', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler']) {
      const where = pods.filter(({ metadata }) => metadata.labels?.['component'] === component)
      expect(where.map(({ spec }) => spec.nodeName).sort()).toEqual([
        `${cluster.name}-control-plane`,
        `${cluster.name}-control-plane2`,
        `${cluster.name}-control-plane3`,
      ])
    }
    const nodes = await list(cluster.kube, { apiVersion: 'v1', kind: 'Node' })
    const tainted = nodes.filter(({ spec }) => spec.taints?.length > 0)
    expect(tainted.map(({ metadata }) => metadata.name)).toEqual(
      cluster.nodes.filter(({ role }) => role === 'control-plane').map(({ name }) => name),
    )
  })

  test('etcd is one cluster of three members that hold the same', async () => {
    await cluster.kubectl(['create', 'configmap', 'everywhere', '--from-literal=a=b'])
    for (const node of cluster.nodes.slice(0, 3)) {
      const { stdout } = await node.exec([
        'kubectl', '--kubeconfig', '/etc/kubernetes/admin.conf', '--server', 'https://127.0.0.1:6443',
        'get', 'configmap', 'everywhere', '-o', 'jsonpath={.data.a}',
      ]) // biome-ignore format: a command line
      expect(stdout).toBe('b')
    }
  })

  test('the load balancer is a process without rights', async () => {
    const engine = await connectEngine()
    const [balancer] = await listContainers(engine, {
      [label.cluster]: cluster.name,
      [label.role]: 'load-balancer',
    })
    expect(balancer?.name).toBe(`${cluster.name}-load-balancer`)
    if (!balancer) return
    const { HostConfig } = await inspectContainer(engine, balancer.name)
    expect(HostConfig.Privileged).toBe(false)
    const status = await execOrThrow(engine, balancer.name, ['cat', '/proc/1/status'])
    expect(status).toMatch(/^Uid:\s+65534/m)
    expect(status).toMatch(/^CapEff:\s+0+$/m)
    expect(status).toMatch(/^CapBnd:\s+0+$/m)
    expect(status).toMatch(/^NoNewPrivs:\s+1$/m)
  })

  test('the API answers while any one control plane is dead, and pods still start', async () => {
    const victim = cluster.node(`${cluster.name}-control-plane`)
    await victim.stop({ graceSeconds: 0 })
    expect(await answers(12)).toBe(12)

    await run(cluster.kube, webPod('after', `${cluster.name}-worker`))
    expect((await inPod(cluster.kube, 'after', 'hostname')).stdout).toBe('after')

    await victim.start()
    expect(await answers(12)).toBe(12)
  })

  test('a dead control plane is replaced by another', async () => {
    const dead = `${cluster.name}-control-plane3`
    await cluster.node(dead).stop({ graceSeconds: 0 })
    await cluster.removeNode(dead)
    const added = await cluster.addNode({ role: 'control-plane' })
    expect(added.name).toBe(dead)
    const { stdout } = await added.exec([
      'kubectl', '--kubeconfig', '/etc/kubernetes/admin.conf', '--server', 'https://127.0.0.1:6443',
      'get', 'configmap', 'everywhere', '-o', 'jsonpath={.data.a}',
    ]) // biome-ignore format: a command line
    expect(stdout).toBe('b')
    // Either of the others may go now.
    await cluster.node(`${cluster.name}-control-plane2`).stop({ graceSeconds: 0 })
    expect(await answers(12)).toBe(12)
  })

  test('a cluster that was stopped and started comes back, with the same kubeconfig', async () => {
    const before = cluster.kubeconfig
    await cluster.stop()
    expect(await answers(1)).toBe(0)
    await cluster.start({ timeoutMs: 240_000 })
    expect(await answers(6)).toBe(6)
    expect(cluster.kubeconfig).toBe(before)
    const kept = {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'everywhere', namespace: 'default' },
    }
    await waitFor(cluster.kube, kept, 'exists', { timeoutMs: 5_000 })
  })
})
