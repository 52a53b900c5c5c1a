import { expect, test } from 'vitest'
import { planWithNode, planWithoutNode } from '../../src/boot/join.ts'
import { planCluster } from '../../src/boot/plan.ts'
import { isNews } from '../../src/boot/resume.ts'
import { resolveClusterSpec } from '../../src/config/index.ts'

const specOf = (...workers: string[]) =>
  resolveClusterSpec({
    name: 'c',
    nodes: ['control-plane', ...workers.map((name) => ({ role: 'worker' as const, name }))],
  })

test('a node that joins is where it would have been from the start', async () => {
  const subnets = { ipv4: '172.30.1.0/24' }
  const [small, large] = [await specOf('a'), await specOf('a', 'b')]
  const [, , b] = large.nodes
  if (!b) throw new Error('no such node')
  expect(planWithNode(planCluster(small, subnets), b)).toEqual(planCluster(large, subnets))
})

test('it takes the place of one that was removed, and never that of one that is there', async () => {
  const spec = await specOf('a', 'b', 'c')
  const plan = planCluster(spec, { ipv4: '172.30.1.0/24' })
  const [, a, b, c] = plan.nodes
  const [, d] = (await specOf('d')).nodes
  if (!a || !b || !c || !d) throw new Error('no such node')
  const extended = planWithNode(planWithoutNode(plan, 'b'), d)
  expect(extended.nodes.map((node) => [node.spec.name, node.addresses, node.podCidrs])).toEqual([
    ['c-control-plane', ['172.30.1.3'], ['10.244.0.0/24']],
    ['a', a.addresses, a.podCidrs],
    ['c', c.addresses, c.podCidrs],
    ['d', b.addresses, b.podCidrs],
  ])
  expect(extended.spec.nodes.map(({ name }) => name)).toEqual(['c-control-plane', 'a', 'c', 'd'])
})

test('in a small pod subnet it gets as much as the others have, until there is no more', async () => {
  const spec = await resolveClusterSpec({
    name: 'c',
    nodes: ['control-plane', 'worker'],
    networking: { podSubnet: '10.1.0.0/24' },
  })
  const [, worker] = spec.nodes
  if (!worker) throw new Error('no such node')
  let plan = planCluster(spec, { ipv4: '172.30.1.0/24' })
  for (const name of ['b', 'c']) plan = planWithNode(plan, { ...worker, name })
  expect(plan.nodes.map(({ podCidrs }) => podCidrs)).toEqual([
    ['10.1.0.0/26'],
    ['10.1.0.64/26'],
    ['10.1.0.128/26'],
    ['10.1.0.192/26'],
  ])
  expect(() => planWithNode(plan, { ...worker, name: 'd' })).toThrow(
    'networking.podSubnet 10.1.0.0/24 has no room for 5 nodes, of which each gets a /26',
  )
})

test('what a node or pod said before its node was started is no news', () => {
  const startedAt = new Map([['n', '2026-01-01T00:00:10Z']])
  const node = (lastHeartbeatTime: string) => ({
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: 'n' },
    status: { conditions: [{ type: 'Ready', status: 'True', lastHeartbeatTime }] },
  })
  expect(isNews('/api/v1/nodes', node('2026-01-01T00:00:09Z'), startedAt)).toBe(false)
  expect(isNews('/api/v1/nodes', node('2026-01-01T00:00:10Z'), startedAt)).toBe(true)

  const pod = (nodeName: string, ...times: string[]) => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'p' },
    spec: { nodeName },
    status: { containerStatuses: times.map((started) => ({ state: { running: { startedAt: started } } })) },
  })
  const [before, after] = ['2026-01-01T00:00:05Z', '2026-01-01T00:00:11Z']
  expect(isNews('/api/v1/pods', pod('n', after, before), startedAt)).toBe(false)
  expect(isNews('/api/v1/pods', pod('n', after, after), startedAt)).toBe(true)
  expect(isNews('/api/v1/pods', pod('n'), startedAt)).toBe(false)
  expect(isNews('/api/v1/pods', pod('another', before), startedAt)).toBe(true)
})
