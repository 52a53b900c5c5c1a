import { describe, expect, test } from 'vitest'
import { comparable, differences } from '../../src/snapshot/capture.ts'

const object = (kind: string, metadata: object, more: object = {}) =>
  comparable({ apiVersion: 'v1', kind, metadata: { name: 'x', ...metadata }, ...more })

describe('two looks at the same object are equal, whatever', () => {
  test('wrote it last, and as which version', () => {
    const once = object('ConfigMap', { uid: '1', resourceVersion: '7', managedFields: [{ time: 'then' }] })
    expect(object('ConfigMap', { uid: '1', resourceVersion: '9', managedFields: [{ time: 'now' }] })).toEqual(
      once,
    )
  })

  test('time a condition has', () => {
    const status = (time: string) => ({
      status: {
        replicas: 2,
        observedGeneration: 3,
        conditions: [{ type: 'Available', status: 'True', lastUpdateTime: time }],
      },
    })
    expect(object('Deployment', { uid: '1' }, status('now'))).toEqual(
      object('Deployment', { uid: '1' }, status('then')),
    )
  })

  test('UID and address a pod has that started once more', () => {
    const pod = (uid: string, podIP: string) =>
      object(
        'Pod',
        { uid },
        { status: { phase: 'Running', podIP, conditions: [{ type: 'Ready', status: 'True' }] } },
      )
    expect(pod('1', '10.0.0.1')).toEqual(pod('2', '10.0.0.2'))
  })

  test('time a kubelet saw the manifest of a static pod, but not whatever it said', () => {
    const pod = (seen: string, hash: string) =>
      object('Pod', {
        annotations: { 'kubernetes.io/config.seen': seen, 'kubernetes.io/config.hash': hash },
      })
    expect(pod('then', '1')).toEqual(pod('now', '1'))
    expect(pod('then', '1')).not.toEqual(pod('then', '2'))
  })
})

describe('they differ when', () => {
  test('a label, a field, or who it is changed', () => {
    const once = object('ConfigMap', { uid: '1', labels: { a: '1' } }, { data: { k: 'v' } })
    expect(object('ConfigMap', { uid: '2', labels: { a: '1' } }, { data: { k: 'v' } })).not.toEqual(once)
    expect(object('ConfigMap', { uid: '1', labels: { a: '2' } }, { data: { k: 'v' } })).not.toEqual(once)
    expect(object('ConfigMap', { uid: '1', labels: { a: '1' } }, { data: { k: 'w' } })).not.toEqual(once)
  })

  test('a pod is no longer Ready, or an endpoint is lost', () => {
    const pod = (status: string) =>
      object('Pod', {}, { status: { phase: 'Running', conditions: [{ type: 'Ready', status }] } })
    expect(pod('True')).not.toEqual(pod('False'))
    const slice = (ready: boolean) => object('EndpointSlice', {}, { endpoints: [{ conditions: { ready } }] })
    expect(slice(true)).not.toEqual(slice(false))
  })

  test('a node has one more resource', () => {
    const node = (capacity: object) => object('Node', { uid: '1' }, { status: { capacity } })
    expect(node({ cpu: '1' })).toEqual(node({ cpu: '2' }))
    expect(node({ cpu: '1' })).not.toEqual(node({ cpu: '1', gpu: '1' }))
  })
})

describe('of what answers for a Service', () => {
  const slice = (...ready: boolean[]) =>
    object(
      'EndpointSlice',
      { labels: { app: 'dns' } },
      {
        endpoints: ready.map((one) => ({ conditions: { ready: one } })),
        ports: [{ port: 53 }],
      },
    )
  const endpoints = (...ips: string[]) =>
    object('Endpoints', {}, ips.length > 0 ? { subsets: [{ addresses: ips, ports: [{ port: 53 }] }] } : {})
  const between = (before: unknown, after: unknown) =>
    differences(new Map([['dns', before]]), new Map([['dns', after]]))

  test('there may be more than when a controller was still behind the pods', () => {
    expect(between(slice(true, false), slice(true, true))).toEqual([])
    expect(between(endpoints(), endpoints('10.0.0.1', '10.0.0.2'))).toEqual([])
  })

  test('there may not be fewer, nor others', () => {
    expect(between(slice(true, true), slice(true))).toEqual(['dns differs: .ready was 2 and is 1'])
    expect(between(endpoints('10.0.0.1'), endpoints())).toHaveLength(1)
    expect(between(slice(true), object('EndpointSlice', {}, { endpoints: [] }))).toHaveLength(1)
  })
})

test('differences are told one by one, with both values', () => {
  const before = new Map<string, unknown>([
    ['ConfigMap. default/a', { data: { k: 'v' }, metadata: {} }],
    ['ConfigMap. default/b', {}],
  ])
  const after = new Map<string, unknown>([
    ['ConfigMap. default/a', { data: { k: 'w' }, metadata: {} }],
    ['ConfigMap. default/c', {}],
  ])
  expect(differences(before, after)).toEqual([
    'ConfigMap. default/b is missing',
    'ConfigMap. default/c is left over',
    'ConfigMap. default/a differs: .data.k was "v" and is "w"',
  ])
  expect(differences(before, before)).toEqual([])
})
