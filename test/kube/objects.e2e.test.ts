import { fileURLToPath } from 'node:url'
import { describe, expect, onTestFinished, test } from 'vitest'
import {
  applyAll,
  create,
  discoverKinds,
  find,
  get,
  type Kube,
  kubeStatus,
  list,
  loadManifests,
  patch,
  remove,
  resolveKind,
  watchList,
} from '../../src/kube/index.ts'
import { testCluster, testNamespace } from './cluster.ts'
import { throughProxy, withExpiredWatch } from './proxies.ts'

const kube = testCluster()
const manifests = fileURLToPath(new URL('../../fixtures/manifests', import.meta.url))
const configMap = (name: string, data = {}) => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name },
  data,
})
// Every namespace gets the ConfigMap kube-root-ca.crt at some time, which the tests of watches must not see.
const watched = (name: string) => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name, labels: { watched: 'yes' } },
})

describe('kinds', () => {
  test.each(['Deployment', 'deployment', 'deployments', 'deploy', 'deployments.apps'])(
    '%s is what kubectl takes it for',
    async (word) => {
      expect(await resolveKind(kube, word)).toMatchObject({
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        plural: 'deployments',
        namespaced: true,
      })
    },
  )

  test('a mistyped kind is told with near ones, a wrong version with the right one', async () => {
    await expect(resolveKind(kube, 'Deploymnet')).rejects.toThrow('Did you mean Deployment')
    await expect(resolveKind(kube, { apiVersion: 'apps/v1beta1', kind: 'Deployment' })).rejects.toThrow(
      'It has Deployment (apps/v1)',
    )
  })

  test('the core group is there as well as the named ones', async () => {
    const kinds = await discoverKinds(kube)
    expect(kinds.find(({ kind }) => kind === 'Node')).toMatchObject({
      apiVersion: 'v1',
      namespaced: false,
      shortNames: ['no'],
    })
    expect(kinds.find(({ kind }) => kind === 'Lease')).toMatchObject({
      apiVersion: 'coordination.k8s.io/v1',
      namespaced: true,
    })
  })
})

describe('reading and writing', () => {
  test('create, get, list, patch, remove', async () => {
    const namespace = await testNamespace(kube)
    await create(kube, configMap('a', { x: '1' }), { namespace })
    await create(
      kube,
      { ...configMap('b'), metadata: { name: 'b', labels: { tier: 'front' } } },
      { namespace },
    )

    expect(await get(kube, 'cm/a', { namespace })).toMatchObject({ kind: 'ConfigMap', data: { x: '1' } })
    expect(await list(kube, 'cm', { namespace, labelSelector: 'tier=front' })).toMatchObject([
      { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'b' } },
    ])
    expect(await patch(kube, 'cm/a', { data: { x: null, y: '2' } }, { namespace })).toMatchObject({
      data: { y: '2' },
    })
    const operations = [{ op: 'replace', path: '/data/y', value: '3' }]
    expect((await patch(kube, 'cm/a', operations, { namespace, type: 'json' }))['data']).toEqual({ y: '3' })
    expect(await remove(kube, 'cm/a', { namespace })).toBe(true)
    expect(await remove(kube, 'cm/a', { namespace })).toBe(false)
  })

  test('what does not exist: get says so, find gives undefined; a kind that does not exist is an error for both', async () => {
    await expect(get(kube, 'ns/no-such-namespace')).rejects.toMatchObject({
      code: 'KUBE_REQUEST_FAILED',
      message:
        'Could not get Namespace no-such-namespace: namespaces "no-such-namespace" not found (404 NotFound)',
    })
    expect(await find(kube, 'ns/no-such-namespace')).toBeUndefined()
    await expect(find(kube, 'naemspace/default')).rejects.toThrow('Did you mean Namespace')
  })

  test('kubeStatus reads errors of this package and of the typed clients', async () => {
    const ours = await get(kube, 'ns/no-such-namespace').catch(kubeStatus)
    const theirs = await kube.core.readNamespace({ name: 'no-such-namespace' }).catch(kubeStatus)
    expect(ours).toMatchObject({
      code: 404,
      reason: 'NotFound',
      details: { kind: 'namespaces', name: 'no-such-namespace' },
    })
    expect(theirs).toEqual(ours)
  })

  test('an aborted request ends with the reason of its signal', async () => {
    const reason = new Error('enough')
    await expect(get(kube, 'ns/default', { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
  })
})

describe('connections are reused', () => {
  test.each([
    ['by this package', (through: Kube) => get(through, 'ns/default')],
    ['by the typed clients', (through: Kube) => through.core.readNamespace({ name: 'default' })],
  ])('%s', async (_, read) => {
    await using proxy = await throughProxy(kube)
    await read(proxy.kube)
    const { connections } = proxy
    for (let count = 0; count < 10; count++) await read(proxy.kube)
    expect(proxy.connections).toBe(connections)
  })
})

describe('watchList', () => {
  test('lists, then tells each change with what there is after it', async () => {
    const namespace = await testNamespace(kube)
    await create(kube, watched('first'), { namespace })
    const steps: string[] = []
    for await (const { type, object, items } of watchList(kube, 'configmaps', {
      namespace,
      labelSelector: 'watched=yes',
    })) {
      steps.push([type, object?.metadata.name, items.size].join(' '))
      if (steps.length === 1) await create(kube, watched('second'), { namespace })
      if (steps.length === 2) await patch(kube, 'cm/second', { data: { x: '1' } }, { namespace })
      if (steps.length === 3) await remove(kube, 'cm/first', { namespace })
      if (steps.length === 4) break
    }
    expect(steps).toEqual(['LISTED  1', 'ADDED second 2', 'MODIFIED second 2', 'DELETED first 1'])
  })

  test('ends without an error when its signal fires', async () => {
    const ended = new AbortController()
    const steps = []
    for await (const { type } of watchList(kube, 'ns', { signal: ended.signal })) {
      steps.push(type)
      ended.abort()
    }
    expect(steps).toEqual(['LISTED'])
  })

  test('survives lost connections, and misses nothing', async () => {
    await using proxy = await throughProxy(kube)
    const namespace = await testNamespace(kube)
    await create(kube, watched('going'), { namespace })
    const troubles: unknown[] = []
    const steps: string[] = []
    const options = {
      namespace,
      labelSelector: 'watched=yes',
      onTrouble: (trouble: unknown) => troubles.push(trouble),
    }
    for await (const { type, object } of watchList(proxy.kube, 'configmaps', options)) {
      steps.push([type, object?.metadata.name].join(' ').trim())
      if (type === 'LISTED') await create(kube, watched('seen'), { namespace })
      if (steps.length === 2) {
        proxy.cut()
        await remove(kube, 'cm/going', { namespace })
        await create(kube, watched('coming'), { namespace })
        proxy.mend()
      }
      if (steps.length === 4) break
    }
    expect(steps).toEqual(['LISTED', 'ADDED seen', 'DELETED going', 'ADDED coming'])
    expect(troubles).not.toEqual([])
  })

  test('lists again when its resource version has expired; what changed meanwhile comes as changes', async () => {
    // The server remembers nothing of a kind from before its definition.
    const [definition] = (await loadManifests('widgets', { cwd: manifests })).filter(
      ({ kind }) => kind === 'CustomResourceDefinition',
    )
    if (definition) await applyAll(kube, [definition])
    onTestFinished(async () => void (await remove(kube, 'crd/widgets.mayfly.test')))
    const widget = (name: string) => ({ apiVersion: 'mayfly.test/v1', kind: 'Widget', metadata: { name } })
    const namespace = await testNamespace(kube)
    await applyAll(kube, [widget('going'), widget('staying')], { namespace })

    await using proxy = await withExpiredWatch(kube)
    const steps: string[] = []
    for await (const { type, object } of watchList(proxy.kube, 'widgets', { namespace })) {
      steps.push([type, object?.metadata.name].join(' ').trim())
      if (type === 'LISTED') {
        await remove(kube, 'widget/going', { namespace })
        await applyAll(kube, [widget('coming')], { namespace })
      }
      if (steps.length === 3) break
    }
    expect(steps).toEqual(['LISTED', 'DELETED going', 'ADDED coming'])
    expect(proxy.paths.filter((path) => path.endsWith('/widgets'))).toHaveLength(2)
  })

  test('what will not pass is an error: no such kind, a bad selector', async () => {
    const first = (target: string, options = {}) => watchList(kube, target, options).next()
    await expect(first('nonsense')).rejects.toThrow('The API server has no kind nonsense')
    await expect(first('pods', { fieldSelector: 'spec.nonsense=1' })).rejects.toThrow(
      'field label not supported',
    )
  })
})
