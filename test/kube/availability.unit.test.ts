import { describe, expect, test } from 'vitest'
import { availabilityRule } from '../../src/kube/availability.ts'
import type { KubeObject } from '../../src/kube/index.ts'

function judge(
  object: Omit<KubeObject, 'metadata'> & { metadata?: object },
  others: Record<string, KubeObject[]> = {},
  applied: KubeObject[] = [],
) {
  const complete = {
    ...object,
    metadata: { name: 'web', namespace: 'shop', generation: 2, ...object.metadata },
  } as KubeObject
  const rule = availabilityRule(complete)
  if (!rule) return 'no rule'
  return rule.judge(complete, (path) => others[path] ?? [], applied)
}

const available = 'available'

describe('Deployment', () => {
  const deployment = { apiVersion: 'apps/v1', kind: 'Deployment', spec: { replicas: 2 } }
  const done = { observedGeneration: 2, replicas: 2, updatedReplicas: 2, availableReplicas: 2 }

  test.each([
    ['rolled out', done, available],
    [
      'not seen by its controller',
      { ...done, observedGeneration: 1 },
      { waiting: 'its controller has not seen it yet' },
    ],
    ['half updated', { ...done, updatedReplicas: 1 }, { waiting: '1 of 2 replicas are updated' }],
    ['old pods still running', { ...done, replicas: 3 }, { waiting: '1 old replicas are still there' }],
    ['pods not ready', { ...done, availableReplicas: 1 }, { waiting: '1 of 2 replicas are available' }],
    [
      'pods refused',
      {
        ...done,
        updatedReplicas: 0,
        conditions: [{ type: 'ReplicaFailure', status: 'True', message: 'quota exceeded' }],
      },
      { waiting: '0 of 2 replicas are updated (quota exceeded)' },
    ],
    ['no status yet', undefined, { waiting: 'its controller has not seen it yet' }],
  ])('%s', (_, status, verdict) => {
    expect(judge({ ...deployment, status })).toEqual(verdict)
  })

  test('one replica is meant where none is given', () => {
    expect(judge({ ...deployment, spec: {}, status: { observedGeneration: 2 } })).toEqual({
      waiting: '0 of 1 replicas are updated',
    })
  })
})

test('StatefulSet: a partition holds older pods back on purpose', () => {
  const status = { observedGeneration: 2, updatedReplicas: 1, availableReplicas: 3 }
  const statefulSet = { apiVersion: 'apps/v1', kind: 'StatefulSet', status }
  expect(judge({ ...statefulSet, spec: { replicas: 3 } })).toEqual({ waiting: '1 of 3 replicas are updated' })
  expect(
    judge({ ...statefulSet, spec: { replicas: 3, updateStrategy: { rollingUpdate: { partition: 2 } } } }),
  ).toBe(available)
  expect(judge({ ...statefulSet, spec: { replicas: 3, updateStrategy: { type: 'OnDelete' } } })).toBe(
    available,
  )
  expect(
    judge({ ...statefulSet, spec: { replicas: 1 }, status: { ...status, availableReplicas: 0 } }),
  ).toEqual({
    waiting: '0 of 1 replicas are available',
  })
})

test('DaemonSet: every node that it is for', () => {
  const daemonSet = { apiVersion: 'apps/v1', kind: 'DaemonSet', spec: {} }
  const status = {
    observedGeneration: 2,
    desiredNumberScheduled: 3,
    updatedNumberScheduled: 3,
    numberAvailable: 3,
  }
  expect(judge({ ...daemonSet, status })).toBe(available)
  expect(judge({ ...daemonSet, status: { ...status, numberAvailable: 2 } })).toEqual({
    waiting: '2 of 3 pods are available',
  })
  expect(judge({ ...daemonSet, status: { ...status, updatedNumberScheduled: 1 } })).toEqual({
    waiting: '1 of 3 pods are updated',
  })
  expect(judge({ ...daemonSet, status: { ...status, observedGeneration: 1 } })).toMatchObject({
    waiting: expect.stringContaining('seen'),
  })
})

test('Job: complete, suspended on purpose, or failed for good', () => {
  const job = { apiVersion: 'batch/v1', kind: 'Job', spec: { completions: 2 } }
  expect(judge({ ...job, status: { conditions: [{ type: 'Complete', status: 'True' }] } })).toBe(available)
  expect(judge({ ...job, spec: { suspend: true } })).toBe(available)
  expect(judge({ ...job, status: { succeeded: 1, failed: 1 } })).toEqual({
    waiting: '1 of 2 pods have succeeded, 1 failed',
  })
  expect(
    judge({
      ...job,
      status: {
        conditions: [
          { type: 'Failed', status: 'True', reason: 'BackoffLimitExceeded', message: 'too often' },
        ],
      },
    }),
  ).toEqual({
    failed: 'BackoffLimitExceeded: too often',
  })
})

test('Pod: ready or succeeded; failed for good; not to be scheduled', () => {
  const pod = { apiVersion: 'v1', kind: 'Pod' }
  expect(
    judge({ ...pod, status: { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] } }),
  ).toBe(available)
  expect(judge({ ...pod, status: { phase: 'Succeeded' } })).toBe(available)
  expect(judge({ ...pod, status: { phase: 'Failed', reason: 'Evicted' } })).toEqual({ failed: 'Evicted' })
  expect(
    judge({
      ...pod,
      status: {
        phase: 'Pending',
        conditions: [{ type: 'PodScheduled', status: 'False', message: 'no room' }],
      },
    }),
  ).toEqual({ waiting: 'its phase is Pending: no room' })
})

test('PersistentVolumeClaim: bound, unless its class waits for the first consumer', () => {
  const claim = {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    spec: { storageClassName: 'local' },
    status: { phase: 'Pending' },
  }
  const classes = (volumeBindingMode: string) => ({
    '/apis/storage.k8s.io/v1/storageclasses': [
      {
        apiVersion: 'storage.k8s.io/v1',
        kind: 'StorageClass',
        metadata: { name: 'local' },
        volumeBindingMode,
      },
    ],
  })
  expect(judge({ ...claim, status: { phase: 'Bound' } })).toBe(available)
  expect(judge(claim, classes('WaitForFirstConsumer'))).toBe(available)
  expect(judge(claim, classes('Immediate'))).toEqual({ waiting: 'its phase is Pending' })
  expect(judge(claim)).toEqual({ waiting: 'its phase is Pending; there is no StorageClass local' })
})

const slicesPath = '/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices'
const slices = (ready: boolean, service = 'web') => ({
  [slicesPath]: [
    {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name: 'x', labels: { 'kubernetes.io/service-name': service } },
      endpoints: [{ conditions: { ready } }],
    },
  ],
})

describe('Service', () => {
  const service = { apiVersion: 'v1', kind: 'Service', spec: { selector: { app: 'web' } } }
  const waiting = { waiting: 'it has no ready endpoint; it selects pods with app=web' }
  const workload = (replicas: number) => ({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'web', namespace: 'shop' },
    spec: { replicas, template: { metadata: { labels: { app: 'web', tier: 'front' } } } },
  })

  test('with a selector, when an endpoint is ready', () => {
    expect(judge(service, slices(true))).toBe(available)
    expect(judge(service, slices(false))).toEqual(waiting)
    expect(judge(service, slices(true, 'other'))).toEqual(waiting)
  })

  test('without a selector, or as a mere name, at once', () => {
    expect(judge({ ...service, spec: {} })).toBe(available)
    expect(judge({ ...service, spec: { type: 'ExternalName', selector: { app: 'web' } } })).toBe(available)
  })

  test('with nothing behind it on purpose, at once', () => {
    expect(judge(service, {}, [workload(0)])).toBe(available)
    expect(judge(service, {}, [workload(1)])).toEqual(waiting)
  })
})

test('webhooks: a certificate and a ready endpoint each', () => {
  const webhook = (clientConfig: object) => ({
    apiVersion: 'admissionregistration.k8s.io/v1',
    kind: 'MutatingWebhookConfiguration',
    webhooks: [{ name: 'a.b.c', clientConfig }],
  })
  const service = { namespace: 'shop', name: 'web' }
  expect(judge(webhook({ service, caBundle: 'Zm9v' }), slices(true))).toBe(available)
  expect(judge(webhook({ service }), slices(true))).toEqual({ waiting: 'webhook a.b.c has no caBundle' })
  expect(judge(webhook({ service, caBundle: 'Zm9v' }), slices(false))).toEqual({
    waiting: 'webhook a.b.c has no ready endpoint behind Service shop/web',
  })
  expect(judge(webhook({ url: 'https://host:1' }))).toBe(available)
})

test.each([
  ['Established', 'apiextensions.k8s.io/v1', 'CustomResourceDefinition'],
  ['Available', 'apiregistration.k8s.io/v1', 'APIService'],
  ['Ready', 'v1', 'Node'],
])('condition %s of %s %s', (type, apiVersion, kind) => {
  expect(judge({ apiVersion, kind, status: { conditions: [{ type, status: 'True' }] } })).toBe(available)
  expect(
    judge({
      apiVersion,
      kind,
      status: { conditions: [{ type, status: 'False', reason: 'Why', message: 'so' }] },
    }),
  ).toEqual({
    waiting: `${type} is False: Why: so`,
  })
  expect(judge({ apiVersion, kind })).toEqual({ waiting: `it has no condition ${type} yet` })
})

test('a kind without a rule is available when it exists', () => {
  expect(judge({ apiVersion: 'v1', kind: 'ConfigMap' })).toBe('no rule')
  expect(judge({ apiVersion: 'serving.knative.dev/v1', kind: 'Service' })).toBe('no rule')
})
