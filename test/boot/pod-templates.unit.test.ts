import { expect, test } from 'vitest'
import { podTemplates } from '../../src/boot/pod-templates.ts'
import type { KubeObject } from '../../src/kube/index.ts'

function pod(owner: { kind: string; name: string } | undefined, more: object = {}): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: 'some-pod',
      namespace: 'kube-system',
      ...(owner && {
        generateName: `${owner.name}-`,
        ownerReferences: [{ apiVersion: 'v1', uid: 'its-uid', ...owner }],
      }),
      ...more,
    },
    spec: { nodeName: 'baked-on' },
  }
}

test('one template for each workload, with the number of its pods', () => {
  const replicaSet = { kind: 'ReplicaSet', name: 'coredns-1' }
  const templates = podTemplates([
    pod(replicaSet),
    pod(replicaSet),
    pod({ kind: 'DaemonSet', name: 'kindnet' }),
    pod({ kind: 'Node', name: 'baked-on' }), // a static pod's mirror
    pod(undefined),
  ])
  expect(templates.map(({ template }) => template)).toEqual([
    { name: 'coredns-1', namespace: 'kube-system', prefix: 'coredns-1-', perNode: false, replicas: 2 },
    { name: 'kindnet', namespace: 'kube-system', prefix: 'kindnet-', perNode: true, replicas: 1 },
  ])
})

test('pods that are on their way out are not brought back', () => {
  const leaving = { deletionTimestamp: '2026-01-01T00:00:00Z' }
  expect(podTemplates([pod({ kind: 'ReplicaSet', name: 'coredns-0' }, leaving)])).toEqual([])
})

test('a template is of no node', () => {
  const [{ text = '' } = {}] = podTemplates([pod({ kind: 'DaemonSet', name: 'kindnet' })])
  expect(text).not.toContain('baked-on')
})
