import { expect, test } from 'vitest'
import { unusable } from '../../bench/usable.ts'

const since = new Date('2026-01-01T12:00:00.700Z')
const before = '2026-01-01T11:59:59Z'
const after = '2026-01-01T12:00:00Z' // the API tells times in whole seconds

function node(heartbeat: string, status = 'True') {
  return {
    metadata: { name: 'control-plane', labels: { 'node-role.kubernetes.io/control-plane': '' } },
    status: { conditions: [{ type: 'Ready', status, lastHeartbeatTime: heartbeat }] },
  }
}

function pod(name: string, startedAt: string | undefined, status = 'True') {
  return {
    metadata: { name },
    spec: { containers: [{}] },
    status: {
      conditions: [{ type: 'Ready', status }],
      containerStatuses: startedAt === undefined ? [] : [{ state: { running: { startedAt } } }],
    },
  }
}

const pods = ['a', 'b', 'c', 'd', 'e', 'f', 'g'].map((name) => pod(name, after))
const cluster = { nodes: 1, since, listed: [node(after)] }

test('a cluster of which everything is Ready now is usable', () => {
  expect(unusable({ ...cluster, pods: [...pods, pod('coredns', after)] })).toEqual([])
})

test('a pod counts only when its containers run, and were started since the creation began', () => {
  const last = [pod('saved', before), pod('without-containers', undefined), pod('starting', after, 'False')]
  for (const one of last) {
    expect(unusable({ ...cluster, pods: [...pods, one] })).toEqual([one.metadata.name])
  }
})

test('a node counts only when its own kubelet called it Ready, not what a saved state said', () => {
  for (const listed of [[node(before)], [node(after, 'False')]]) {
    expect(unusable({ ...cluster, listed, pods: [...pods, pod('coredns', after)] })).toEqual([
      'control-plane',
    ])
  }
})

test('nodes and pods that are not there yet are missed', () => {
  expect(unusable({ ...cluster, nodes: 2, pods })).toEqual(['1 nodes', '1 pods'])
})
