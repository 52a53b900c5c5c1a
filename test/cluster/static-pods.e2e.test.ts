import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Cluster, createCluster } from '../../src/index.ts'
import { conditionOf, get } from '../../src/kube/index.ts'
import { until } from '../../src/wait.ts'
import { withFlag } from '../snapshot/suite.ts'

let cluster: Cluster
const node = () => cluster.node(`${cluster.name}-control-plane`)

type Component = 'kube-scheduler' | 'kube-apiserver'

/** What makes no difference. */
const flag = '--v=1'
const pathOf = (pod: Component) => `/etc/kubernetes/manifests/${pod}.yaml`
const manifestOf = async (pod: Component) => String(await node().readFile(pathOf(pod)))
const edited = (manifest: string, pod: Component) => withFlag(manifest, pod, flag)

/**
 * Whether the component runs with its flag, once it runs once only, with it or without, and its pod is Ready by the word of
 * a kubelet that knows the mirror of what runs.
 */
async function runs(pod: Component, wanted: 'edited' | 'as before'): Promise<string> {
  return until(
    `${pod} to run ${wanted}`,
    async () => {
      const { stdout } = await node().exec(['ps', '-eo', 'args'])
      const lines = stdout.split('\n').filter((line) => new RegExp(`^(\\S*/)?${pod} --`).test(line))
      const has = lines.map((line) => line.includes(` ${flag}`))
      if (has.length !== 1 || has[0] !== (wanted === 'edited'))
        throw new Error(`these run: ${lines.join('\n')}`)
      const mirror = await get(cluster.kube, {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: `${pod}-${cluster.name}-control-plane`, namespace: 'kube-system' },
      })
      const spec = mirror['spec'] as { containers: { command: string[] }[] }
      if (spec.containers[0]?.command.includes(flag) !== (wanted === 'edited'))
        throw new Error('its mirror is of another time')
      if (conditionOf(mirror, 'Ready')?.status !== 'True') throw new Error('it is not Ready')
      return String(mirror.metadata.annotations?.['kubernetes.io/config.hash'])
    },
    { timeoutMs: 120_000 },
  )
}

beforeAll(async () => {
  cluster = await createCluster({ nodes: ['control-plane'] })
})
afterAll(() => cluster?.delete())

test('one runs as its manifest is edited, and as the same as before when that is put back', {
  timeout: 120_000,
}, async () => {
  const before = await manifestOf('kube-scheduler')
  const hash = await runs('kube-scheduler', 'as before')
  await node().writeFile(pathOf('kube-scheduler'), edited(before, 'kube-scheduler'))
  expect(await runs('kube-scheduler', 'edited')).not.toBe(hash)
  await node().writeFile(pathOf('kube-scheduler'), before)
  expect(await runs('kube-scheduler', 'as before')).toBe(hash)
})

// It ends by itself only when the kubelet's grace period of 30 s is over, as everywhere.
test('so does the API server', { timeout: 150_000 }, async () => {
  const before = await manifestOf('kube-apiserver')
  await node().writeFile(pathOf('kube-apiserver'), edited(before, 'kube-apiserver'))
  await runs('kube-apiserver', 'edited')
})

test('what is edited while the kubelet is away holds when it comes back, and after a stop', {
  timeout: 150_000,
}, async () => {
  const before = await manifestOf('kube-scheduler')
  await node().exec(['systemctl', 'stop', 'kubelet'])
  await node().writeFile(pathOf('kube-scheduler'), edited(before, 'kube-scheduler'))
  await node().exec(['systemctl', 'start', 'kubelet'])
  await runs('kube-scheduler', 'edited')
  await cluster.stop({ graceSeconds: 1 })
  await cluster.start()
  await runs('kube-scheduler', 'edited')
})
