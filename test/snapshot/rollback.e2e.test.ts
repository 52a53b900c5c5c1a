import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Cluster, createCluster, getCluster, type Snapshot } from '../../src/index.ts'
import { applyAll, find, list, waitFor } from '../../src/kube/index.ts'
import { inPod, run, webPod } from '../cluster/pods.ts'
import {
  faults,
  heldCustomResource,
  manyConfigMaps,
  namespace,
  ordinarySuite,
  stubbornDeployment,
} from './suite.ts'

const limits = { timeoutMs: 60_000 }
let cluster: Cluster
let pristine: Snapshot

beforeAll(async () => {
  cluster = await createCluster({ nodes: ['control-plane', 'worker'] })
  pristine = await cluster.snapshot('pristine', { objects: true })
})
afterAll(() => cluster?.delete())

/** Takes the cluster back, with every object compared. */
async function backTo(snapshot: Snapshot) {
  const report = await cluster.rollback(snapshot, { verify: 'full' })
  return { ...report, ...(await report.settled) }
}

/** A new pod runs, and finds others by their names. It is left to the next roll-back. */
async function expectToWork(): Promise<void> {
  await run(cluster.kube, webPod('probe'))
  const { stdout } = await inPod(cluster.kube, 'probe', 'nslookup', 'kubernetes.default.svc.cluster.local')
  expect(stdout).toContain('10.96.0.1')
}

/** What the nodes run of the suites' pods. */
async function stubbornProcesses(): Promise<string> {
  const found = await Promise.all(cluster.nodes.map((node) => node.exec(['pgrep', '-f', '^sh -c trap'])))
  return found.map(({ stdout }) => stdout).join('')
}

/** What pods take on the nodes; each must be as before once they are gone. */
async function inventory(): Promise<Record<string, number>> {
  const counts = {
    mounts: 'wc -l < /proc/mounts',
    'network namespaces': 'ls /run/netns | wc -l',
    'network interfaces': 'ls /sys/class/net | wc -l',
    cgroups: "find /sys/fs/cgroup -type d -name 'pod*' | wc -l",
    shims: 'pgrep -c containerd-shim',
    'sandbox processes': 'pgrep -xc pause',
    'folders of volumes': 'ls /var/lib/kubelet/pods | wc -l',
    'rules for Services': "iptables-save -t nat | grep -c 'KUBE-SVC'",
  }
  const script = Object.values(counts).join('; ')
  const found = await Promise.all(cluster.nodes.map((node) => node.exec(['sh', '-c', script])))
  const lines = found.map(({ stdout }) => stdout.trim().split('\n'))
  const total = (at: number) => lines.reduce((sum, line) => sum + Number(line[at]), 0)
  return Object.fromEntries(Object.keys(counts).map((name, at) => [name, total(at)]))
}

/** Of what there is more than there was. */
async function more(before: Record<string, number>): Promise<string[]> {
  const now = await inventory()
  return Object.keys(now).filter((name) => (now[name] ?? 0) > (before[name] ?? 0))
}

/** The memory cgroups that the kernel has, those included that were removed and whose pages of files it keeps. */
async function memoryCgroups(): Promise<number> {
  const script = `awk '/^nr_/ { all += $2 } END { print all }' /sys/fs/cgroup/cgroup.stat 2> /dev/null ||
    awk '$1 == "memory" { print $3 }' /proc/cgroups`
  const found = await Promise.all(cluster.nodes.map((node) => node.exec(['sh', '-c', script])))
  return Math.max(...found.map(({ stdout }) => Number(stdout)))
}

/** Size of etcd's file. */
async function etcdMegabytes(): Promise<number> {
  const { stdout } =
    (await cluster.nodes[0]?.exec(['stat', '-c', '%s', '/var/lib/etcd/member/snap/db'])) ?? {}
  return Number(stdout) / 1e6
}

/** A roll-back whose process on the control plane is killed so long after its start. */
async function rollbackKilledAfter(delayMs: number): Promise<void> {
  const [controlPlane] = cluster.nodes
  const killer = `pkill -9 -f "$1"; while pgrep -f "$1" > /dev/null; do :; done; touch /run/killer-waits
    until pgrep -f "$1" > /dev/null; do :; done; sleep ${delayMs / 1000}; pkill -9 -f "$1"; rm /run/killer-waits`
  const killed = controlPlane?.exec(['sh', '-c', killer, 'killer', 'mayfly-node rollback$'])
  // The one that waited for its request is gone by then.
  await controlPlane?.exec(['sh', '-c', 'until [ -e /run/killer-waits ]; do sleep 0.01; done'])
  await expect(cluster.rollback(pristine)).rejects.toMatchObject({ code: 'ROLLBACK_FAILED' })
  await killed
}

/** Folders of local volumes on the nodes. */
async function volumes(): Promise<string[]> {
  const found = await Promise.all(
    cluster.nodes.map((node) => node.exec(['ls', '/var/local-path-provisioner'])),
  )
  return found.flatMap(({ stdout }) => stdout.split('\n').filter(Boolean))
}

describe('a snapshot', () => {
  test('tells what it holds, and can be found again by its name or as the last one', async () => {
    expect(pristine).toMatchObject({ name: 'pristine', cluster: cluster.name, settled: true })
    expect(pristine.nodes.map(({ name }) => name)).toEqual(cluster.nodes.map(({ name }) => name))
    expect(pristine.keys).toBeGreaterThan(250)
    // From another process as well: everything that is known of it is in the cluster.
    await using found = await getCluster(cluster.name)
    expect(await found.rollback('pristine')).toMatchObject({ snapshot: 'pristine', way: 'in-place' })
    expect(await found.rollback()).toMatchObject({ snapshot: 'pristine' })
  })

  test('has a name that can be a folder', async () => {
    await expect(cluster.snapshot('../etc')).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
    await expect(cluster.rollback('nowhere')).rejects.toMatchObject({ code: 'SNAPSHOT_NOT_FOUND' })
  })

  test('whose objects are not known here is refused for a full comparison before anything is taken back', async () => {
    const path = '/api/v1/namespaces/default/configmaps'
    await cluster.kube.request('POST', path, { body: { metadata: { name: 'kept' } } })
    await using found = await getCluster(cluster.name)
    await expect(found.rollback('pristine', { verify: 'full' })).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
    })
    await cluster.kube.request('GET', `${path}/kept`)
    await found.rollback('pristine')
  })
})

describe('after a roll-back nothing is left of a suite that', () => {
  test('does what suites do, again and again', async () => {
    const [before, cgroups] = await Promise.all([inventory(), memoryCgroups()])
    for (const round of [1, 2, 3]) {
      await ordinarySuite(cluster.kube)
      expect(await stubbornProcesses()).not.toBe('')
      const report = await backTo(pristine)
      expect(report, `round ${round}`).toMatchObject({ way: 'in-place', pending: [] })
      expect(report.endedPods).toBeGreaterThanOrEqual(5)
      expect(await stubbornProcesses()).toBe('')
    }
    // Kubelets take folders and cgroups of pods down a moment after their processes.
    await expect.poll(() => more(before), { timeout: 30_000, interval: 500 }).toEqual([])
    // Each pod has three, of which the kernel would keep some for good: 32 to 73 here, and -3 to 20 as it is.
    await expect.poll(memoryCgroups, { timeout: 10_000 }).toBeLessThan(cgroups + 28)
    await expectToWork()
  })

  test.for(Object.entries(faults))('%s', async ([, fault]) => {
    await fault(cluster)
    await backTo(pristine)
    expect(await volumes()).toEqual([])
    await expectToWork()
  })

  test('adds a worker and takes another away', async () => {
    const [, worker] = pristine.nodes
    await cluster.addNode({ name: `${cluster.name}-extra` })
    await cluster.removeNode(worker?.name ?? '')
    await backTo(pristine)
    expect(cluster.nodes.map(({ name }) => name)).toEqual(pristine.nodes.map(({ name }) => name))
    await run(cluster.kube, webPod('on-worker', worker?.name))
  })
})

test('a roll-back that is killed half-way is made good by the next one', async () => {
  const objects = manyConfigMaps('crowd', 1200, 16_384)
  await applyAll(cluster.kube, [namespace('crowd'), ...objects], limits)
  const configMaps = () => list(cluster.kube, { apiVersion: 'v1', kind: 'ConfigMap' }, { namespace: 'crowd' })
  const total = (await configMaps()).length
  let left = total
  // Later and later, until something was deleted.
  for (let delayMs = 40; left === total; delayMs += 20) {
    await rollbackKilledAfter(delayMs)
    left = (await configMaps()).length
  }
  expect(left).toBeGreaterThan(0)
  await backTo(pristine)
  await expectToWork()
})

test('a container that is about to be started when its pod has to go is let start', async () => {
  const [node] = cluster.nodes
  const uid = '01234567-89ab-cdef-0123-456789abcdef'
  const bundle = {
    ociVersion: '1.0.0',
    process: { user: { uid: 0, gid: 0 }, args: ['/usr/bin/sleep', '600'], cwd: '/' },
    root: { path: '/' },
    mounts: [],
    // A cgroup where kubelets don't look for pods
    linux: { cgroupsPath: `/pod${uid}/late`, namespaces: [{ type: 'pid' }] },
  }
  await node?.writeFile('/root/late/config.json', JSON.stringify(bundle))
  const crun = async (args: string) => node?.exec(['sh', '-c', `crun ${args} < /dev/null > /dev/null 2>&1`])
  // What a first run may have left
  await crun('delete --force late')
  expect(await crun('create --bundle=/root/late late')).toMatchObject({ exitCode: 0 })
  const request = { dir: '/nowhere', gone: [uid], wanted: [], volumes: [], beforeMs: 0, timeoutMs: 20_000 }
  const ending = node?.exec(['mayfly-node', 'rollback-node'], { stdin: JSON.stringify(request) })
  await new Promise((resolve) => setTimeout(resolve, 1000))
  expect(await crun('start late')).toMatchObject({ exitCode: 0 })
  expect(JSON.parse((await ending)?.stdout ?? '')).toMatchObject({ ended: 1, pending: [] })
  expect(await crun('delete late')).toMatchObject({ exitCode: 0 })
})

test('the program that waits for the next roll-back is one, and may be killed', async () => {
  const [controlPlane] = cluster.nodes
  const waiting = ['-fx', 'mayfly-node rollback']
  await backTo(pristine)
  await expect
    .poll(async () => (await controlPlane?.exec(['pgrep', '-c', ...waiting]))?.stdout.trim())
    .toBe('1')
  await controlPlane?.exec(['pkill', ...waiting])
  await ordinarySuite(cluster.kube)
  await backTo(pristine)
})

test('a roll-back that is given up before it begins takes nothing back', async () => {
  const { kube } = cluster
  await backTo(pristine)
  const [kept] = manyConfigMaps('default', 1, 10)
  await applyAll(kube, kept ? [kept] : [], limits)
  await expect(cluster.rollback(pristine, { signal: AbortSignal.abort() })).rejects.toMatchObject({
    code: 'WAIT_ABORTED',
  })
  expect(kept && (await find(kube, kept))).toBeDefined()
  await backTo(pristine)
})

test('etcd gives back the room that a suite took', async () => {
  await faults['fills etcd with 50 MB']?.(cluster)
  await backTo(pristine)
  expect(await etcdMegabytes()).toBeGreaterThan(45)
  // What the last roll-back may still have to tell watches of is forgotten with the next one.
  await backTo(pristine)
  await backTo(pristine)
  expect(await etcdMegabytes()).toBeLessThan(40)
})

test('what etcd forgets API servers forget, and whoever watches on from then is told to read anew', async () => {
  const { kube } = cluster
  const path = '/api/v1/namespaces/default/configmaps'
  const { metadata } = await kube.request<{ metadata: { resourceVersion: string } }>('GET', path)
  const watchOn = async () => {
    const query = `watch=true&timeoutSeconds=1&resourceVersion=${metadata.resourceVersion}`
    return (await cluster.kubectl(['get', '--raw', `${path}?${query}`])).stdout
  }
  for (const name of ['first', 'second']) {
    await kube.request('POST', path, { body: { metadata: { name } } })
    await backTo(pristine)
  }
  // They look every 15 s, and would keep the changes for 75 s.
  await expect.poll(watchOn, { timeout: 30_000, interval: 1000 }).toContain('"reason":"Expired"')
})

test('a roll-back that need not settle returns when the API shows the state, and tells what is pending', async () => {
  await ordinarySuite(cluster.kube)
  const report = await cluster.rollback(pristine, { settle: false, verify: 'full' })
  expect(report.pending.join()).toContain('pods of the old state to end')
  expect(await find(cluster.kube, namespace('shop'))).toBeUndefined()
  await report.settled
  expect(await stubbornProcesses()).toBe('')
})

test('what a snapshot has comes back when a suite deletes it', async () => {
  const { kube } = cluster
  const deployment = stubbornDeployment('web', 'shop', 2, { terminationGracePeriodSeconds: 1 })
  const resource = heldCustomResource('widgets', 'Widget', 'shop')
  await applyAll(kube, [namespace('shop'), ...resource, deployment], limits)
  await waitFor(kube, deployment, { condition: 'Available' }, limits)
  const installed = await cluster.snapshot('installed', { objects: true })

  await kube.request('DELETE', '/api/v1/namespaces/shop')
  await kube.request(
    'DELETE',
    '/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.suite.example',
  )
  await waitFor(kube, deployment, 'deleted', limits)
  const report = await backTo(installed)
  expect(report.restartedPods.filter((name) => name.startsWith('shop/'))).toHaveLength(2)

  await backTo(pristine)
  expect(await stubbornProcesses()).toBe('')
})
