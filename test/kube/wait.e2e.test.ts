import { fileURLToPath } from 'node:url'
import { describe, expect, onTestFinished, test } from 'vitest'
import {
  applyAll,
  create,
  type KubeObject,
  loadManifests,
  patch,
  remove,
  waitAvailable,
  waitFor,
} from '../../src/kube/index.ts'
import { testCluster, testNamespace } from './cluster.ts'

const kube = testCluster()
const cwd = fileURLToPath(new URL('../../fixtures/manifests', import.meta.url))

/** A Widget in a namespace of its own, whose status nobody but the test writes. */
async function testWidget() {
  const namespace = await testNamespace(kube)
  await applyAll(kube, await loadManifests('widgets', { cwd }), { namespace })
  const widget = { apiVersion: 'mayfly.test/v1', kind: 'Widget', name: 'first', namespace }
  const report = (status: object) => patch(kube, widget, { status }, { subresource: 'status' })
  return { namespace, widget, report }
}

describe('waitFor', () => {
  test('a condition', async () => {
    const { widget, report } = await testWidget()
    const ready = waitFor(kube, widget, { condition: 'Ready' }, { timeoutMs: 10_000 })
    await report({ conditions: [{ type: 'Ready', status: 'False', reason: 'Starting', message: 'not yet' }] })
    await report({ conditions: [{ type: 'Ready', status: 'True', reason: 'Done', message: '' }] })
    expect((await ready).status.conditions).toMatchObject([{ status: 'True' }])
  })

  test('a condition with another status than True', async () => {
    const { widget, report } = await testWidget()
    await report({ conditions: [{ type: 'Ready', status: 'False', reason: 'Broken', message: '' }] })
    await waitFor(kube, widget, { condition: 'Ready', status: 'False' }, { timeoutMs: 10_000 })
  })

  test('a condition that was computed for an older spec does not count', async () => {
    const { widget, report } = await testWidget()
    await report({
      conditions: [{ type: 'Ready', status: 'True', reason: 'Done', message: '', observedGeneration: 1 }],
    })
    await waitFor(kube, widget, { condition: 'Ready' }, { timeoutMs: 10_000 })
    await patch(kube, widget, { spec: { size: 4 } })
    await expect(waitFor(kube, widget, { condition: 'Ready' }, { timeoutMs: 300 })).rejects.toThrow(
      'condition Ready is True for generation 1 of 2',
    )
  })

  test('a JSONPath, with a value and without', async () => {
    const { widget, report } = await testWidget()
    const found = waitFor(kube, widget, { jsonPath: '{.status.address}' }, { timeoutMs: 10_000 })
    const running = waitFor(
      kube,
      widget,
      { jsonPath: '{.status.parts[*].phase}', value: 'Running' },
      { timeoutMs: 10_000 },
    )
    await report({ address: '10.0.0.1' })
    expect((await found).status).toEqual({ address: '10.0.0.1' })
    await report({ parts: [{ phase: 'Pending' }, { phase: 'Running' }] })
    expect((await running).status.parts).toHaveLength(2)
  })

  test('a predicate, which may be asynchronous and may throw to say why not', async () => {
    const { widget, report } = await testWidget()
    const predicate = async ({ status }: KubeObject) => {
      if (!status) throw new Error('it has no status')
      return status.count > 2
    }
    await expect(waitFor(kube, widget, predicate, { timeoutMs: 300 })).rejects.toThrow('it has no status')
    const counted = waitFor(kube, widget, predicate, { timeoutMs: 10_000 })
    await report({ count: 2 })
    await report({ count: 3 })
    expect((await counted).status.count).toBe(3)
  })

  test('an object to come, and to go', async () => {
    const namespace = await testNamespace(kube)
    const object = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a', namespace } }
    const coming = waitFor(kube, 'configmap/a', 'exists', { namespace, timeoutMs: 10_000 })
    await create(kube, object)
    expect((await coming).metadata.name).toBe('a')
    const going = waitFor(kube, object, 'deleted', { timeoutMs: 10_000 })
    await remove(kube, object)
    await going
    await waitFor(kube, object, 'deleted', { timeoutMs: 10_000 })
  })

  test('an object goes with its definition', async () => {
    const { widget } = await testWidget()
    const gone = waitFor(kube, widget, 'deleted', { timeoutMs: 20_000 })
    await remove(kube, 'crd/widgets.mayfly.test')
    await gone
  })

  test('on time-out, what was last seen', async () => {
    const { widget, report } = await testWidget()
    await report({ conditions: [{ type: 'Ready', status: 'False', reason: 'Stuck', message: 'no room' }] })
    const error = await waitFor(kube, widget, { condition: 'Ready' }, { timeoutMs: 300 }).catch(
      (thrown: Error) => thrown,
    )
    expect((error as Error).message.replace(widget.namespace, 'NAMESPACE')).toMatchInlineSnapshot(`
      "Waited 0.3 s for Widget NAMESPACE/first to have condition Ready=True; last seen: condition Ready is False: Stuck: no room
      generation: 1
      status:
        conditions:
          - message: no room
            reason: Stuck
            status: "False"
            type: Ready"
    `)
  })

  test('on time-out, who holds a deletion back', async () => {
    const namespace = await testNamespace(kube)
    const held = {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'a', namespace, finalizers: ['mayfly.test/hold'] },
    }
    onTestFinished(async () => void (await patch(kube, held, { metadata: { finalizers: null } })))
    await create(kube, held)
    await remove(kube, held)
    await expect(waitFor(kube, held, 'deleted', { timeoutMs: 300 })).rejects.toThrow('mayfly.test/hold')
  })

  test('ends with the signal of its caller', async () => {
    const ended = new AbortController()
    const waiting = waitFor(kube, 'ns/no-such-namespace', 'exists', {
      timeoutMs: 60_000,
      signal: ended.signal,
    })
    ended.abort()
    await expect(waiting).rejects.toMatchObject({ code: 'WAIT_ABORTED' })
  })
})

describe('waitAvailable', () => {
  test('nothing to wait for', async () => {
    await waitAvailable(kube, [], { timeoutMs: 5000 })
    await waitAvailable(kube, [{ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a' } }], {
      timeoutMs: 5000,
    })
  })

  test('namespaces and definitions', async () => {
    const { namespace } = await testWidget()
    const objects = await loadManifests('widgets', { cwd })
    await waitAvailable(
      kube,
      [...objects, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } }],
      { namespace, timeoutMs: 10_000 },
    )
  })

  test('a Service gets available with its first ready endpoint', async () => {
    const namespace = await testNamespace(kube)
    // An endpoint that the test makes itself: nothing here selects a pod.
    const service = {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'web', namespace },
      spec: { selector: { app: 'nobody' }, ports: [{ port: 80 }] },
    }
    const slice = (ready: boolean) => ({
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name: 'by-hand', namespace, labels: { 'kubernetes.io/service-name': 'web' } },
      addressType: 'IPv4',
      endpoints: [{ addresses: ['10.1.2.3'], conditions: { ready } }],
      ports: [{ port: 80 }],
    })
    await applyAll(kube, [service, slice(false)])
    await expect(waitAvailable(kube, [service], { timeoutMs: 300 })).rejects.toThrow(
      'it has no ready endpoint; it selects pods with app=nobody',
    )
    const available = waitAvailable(kube, [service], { timeoutMs: 10_000 })
    await applyAll(kube, [slice(true)])
    await available
  })

  test('a claim whose class binds for the first consumer is as available as it gets', async () => {
    const namespace = await testNamespace(kube)
    const storageClass = (volumeBindingMode: string) => ({
      apiVersion: 'storage.k8s.io/v1',
      kind: 'StorageClass',
      metadata: { name: `${namespace}-${volumeBindingMode.toLowerCase()}` },
      provisioner: 'mayfly.test/nobody',
      volumeBindingMode,
    })
    const claim = (name: string, storageClassName: string) => ({
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name, namespace },
      spec: { storageClassName, accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Mi' } } },
    })
    const [lazy, eager] = [storageClass('WaitForFirstConsumer'), storageClass('Immediate')]
    onTestFinished(async () => {
      await remove(kube, lazy)
      await remove(kube, eager)
    })
    const claims = [claim('lazy', lazy.metadata.name), claim('eager', eager.metadata.name)]
    await applyAll(kube, [lazy, eager, ...claims])
    await expect(waitAvailable(kube, claims, { timeoutMs: 500 })).rejects.toThrow(`1 not available
- PersistentVolumeClaim ${namespace}/eager: its phase is Pending`)
  })

  test('an object that does not exist', async () => {
    const missing = {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'missing', namespace: 'default' },
    }
    await expect(waitAvailable(kube, [missing], { timeoutMs: 300 })).rejects.toThrow(
      '- Deployment default/missing: it does not exist',
    )
  })

  test('pods that are refused are explained by the events about them', async () => {
    const namespace = await testNamespace(kube)
    const quota = {
      apiVersion: 'v1',
      kind: 'ResourceQuota',
      metadata: { name: 'none', namespace },
      spec: { hard: { pods: '0' } },
    }
    const [, deployment] = await loadManifests('shop', { cwd })
    const own = { ...deployment, metadata: { name: 'web', namespace } } as KubeObject
    const account = { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'web', namespace } }
    await applyAll(kube, [quota, account])
    await waitFor(kube, quota, { jsonPath: '{.status.hard.pods}', value: '0' }, { timeoutMs: 10_000 })
    await applyAll(kube, [own])
    const error = await waitAvailable(kube, [own], { timeoutMs: 3000 }).catch(
      (thrown: Error) => thrown.message,
    )
    expect(error).toContain(`Deployment ${namespace}/web: 0 of 2 replicas are updated (pods "web-`)
    expect(error).toMatch(
      /ReplicaSet web-\w+: FailedCreate: Error creating: pods "web-.* exceeded quota: none/,
    )
  })
})
