import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, onTestFinished, test } from 'vitest'
import {
  applyAll,
  create,
  find,
  get,
  type KubeObject,
  loadManifests,
  patch,
  remove,
  waitFor,
} from '../../src/kube/index.ts'
import { testCluster, testNamespace } from './cluster.ts'

const kube = testCluster()
const cwd = fileURLToPath(new URL('../../fixtures/manifests', import.meta.url))
const configMap = (name: string, data = {}): KubeObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name },
  data,
})

describe('a set of manifests', () => {
  afterEach(async () => {
    await remove(kube, 'ns/shop')
    await remove(kube, 'crd/widgets.mayfly.test')
  })

  test('is applied whole, whatever the order of its files', async () => {
    const applied = await applyAll(kube, await loadManifests(['widgets', 'shop'], { cwd }))
    expect(applied.map(({ kind, metadata }) => [kind, metadata.namespace, metadata.name].join(' '))).toEqual([
      'Widget default first',
      'CustomResourceDefinition  widgets.mayfly.test',
      'Namespace  shop',
      'Deployment shop web',
      'Service shop web',
      'ServiceAccount shop web',
      'ConfigMap shop web',
      'ConfigMap shop extra',
    ])
    expect(await get(kube, 'cm/web', { namespace: 'shop' })).toMatchObject({
      data: { GREETING: 'yes', PORTS: '22:22' },
    })
    const { spec } = await get(kube, 'deploy/web', { namespace: 'shop' })
    expect(spec.template.spec.volumes[0].configMap.defaultMode).toBe(0o440)
  })

  test('can be applied again, and at once after its deletion: what is still going is waited for', async () => {
    const objects = await loadManifests('shop', { cwd })
    const [before] = await applyAll(kube, objects)
    const [again] = await applyAll(kube, objects)
    expect(again?.metadata.uid).toBe(before?.metadata.uid)
    await remove(kube, 'ns/shop')
    const [after] = await applyAll(kube, objects)
    expect(after?.metadata.uid).not.toBe(before?.metadata.uid)
    expect(await find(kube, 'deploy/web', { namespace: 'shop' })).toBeDefined()
  })

  test('fields are taken over from whoever has them; what was given up goes', async () => {
    const namespace = await testNamespace(kube)
    await applyAll(kube, [configMap('a', { mine: '1', dropped: '1' })], { namespace })
    await patch(
      kube,
      'cm/a',
      { data: { mine: 'theirs', other: '1' } },
      { namespace, fieldManager: 'someone' },
    )
    await applyAll(kube, [configMap('a', { mine: '2' })], { namespace })
    expect((await get(kube, 'cm/a', { namespace }))['data']).toEqual({ mine: '2', other: '1' })
  })
})

describe('namespaces', () => {
  test('an object without one goes where it is told, one with its own stays there, one that has none is left alone', async () => {
    const namespace = await testNamespace(kube)
    const elsewhere = await testNamespace(kube)
    const own = { ...configMap('own'), metadata: { name: 'own', namespace: elsewhere } }
    const role = {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRole',
      metadata: { name: namespace },
      rules: [],
    }
    onTestFinished(async () => void (await remove(kube, role)))
    const applied = await applyAll(kube, [configMap('a'), own, role], { namespace })
    expect(applied.map(({ metadata }) => metadata.namespace)).toEqual([namespace, elsewhere, undefined])
  })

  test('the caller’s objects are left as they were', async () => {
    const namespace = await testNamespace(kube)
    const object = Object.freeze({ ...configMap('a'), metadata: Object.freeze({ name: 'a' }) })
    await applyAll(kube, [object], { namespace })
    expect(object.metadata).toEqual({ name: 'a' })
  })
})

describe('what is refused is told with its place, the reason and what to do', () => {
  test.each<[string, KubeObject, string, string]>([
    [
      'an unknown kind',
      { ...configMap('a'), kind: 'ConfigMpa' },
      'the API server has no kind ConfigMpa (v1)',
      'Did you mean ConfigMap?',
    ],
    [
      'an old version',
      { ...configMap('a'), apiVersion: 'apps/v1beta2', kind: 'Deployment' },
      'no kind Deployment',
      'It has Deployment (apps/v1)',
    ],
    [
      'a kind nobody brings',
      { ...configMap('a'), apiVersion: 'x.y/v1', kind: 'Gizmo' },
      'no kind Gizmo (x.y/v1)',
      'Apply the CustomResourceDefinition',
    ],
    [
      'a misspelt field',
      { ...configMap('a'), dta: {} },
      '.dta: field not declared in schema',
      'Correct the name of the field',
    ],
    [
      'a missing namespace',
      { ...configMap('a'), metadata: { name: 'a', namespace: 'no-such-namespace' } },
      'namespaces "no-such-namespace" not found',
      'Add the Namespace no-such-namespace',
    ],
    ['a bad name', configMap('Not_A_Name'), 'a lowercase RFC 1123 subdomain', ''],
  ])('%s', async (_, object, reason, hint) => {
    const attempt = applyAll(kube, [object], { timeoutMs: 5000 })
    await expect(attempt).rejects.toMatchObject({
      code: 'APPLY_FAILED',
      message: expect.stringContaining(`Could not apply ${object.kind}`),
    })
    await expect(attempt).rejects.toThrow(reason)
    await expect(attempt).rejects.toThrow(hint)
  })

  test('a field that cannot change', async () => {
    const namespace = await testNamespace(kube)
    const service = (clusterIP: string | undefined) => ({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'a' },
      spec: { ...(clusterIP && { clusterIP }), ports: [{ port: 80 }] },
    })
    await applyAll(kube, [service(undefined)], { namespace })
    await expect(applyAll(kube, [service('None')], { namespace })).rejects.toThrow('Delete the object first')
  })

  test('all that is refused at once, each with its file', async () => {
    const [first, second] = [
      'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: Bad_1}\n',
      'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: Bad_2}\n',
    ]
    const attempt = applyAll(kube, await loadManifests([`${first}---\n${second}`], { cwd }))
    await expect(attempt).rejects.toThrow('2 objects could not be applied')
    await expect(attempt).rejects.toThrow('Could not apply ConfigMap Bad_1 (inline YAML:1)')
    await expect(attempt).rejects.toThrow('Could not apply ConfigMap Bad_2 (inline YAML:5)')
  })

  test('nothing is applied when a kind is unknown', async () => {
    const namespace = await testNamespace(kube)
    await expect(
      applyAll(kube, [configMap('a'), { ...configMap('b'), kind: 'Nonsense' }], { namespace }),
    ).rejects.toThrow('Nonsense')
    expect(await find(kube, 'cm/a', { namespace })).toBeUndefined()
  })
})

describe('what passes is waited out', () => {
  test('until the deadline: an object that a finalizer holds', async () => {
    const namespace = await testNamespace(kube)
    const held = {
      ...configMap('held'),
      metadata: { name: 'held', namespace, finalizers: ['mayfly.test/hold'] },
    }
    const release = () => patch(kube, held, { metadata: { finalizers: null } })
    // Someone else's, so that applying the object without it does not take it off.
    await create(kube, held)
    await remove(kube, held)
    await expect(applyAll(kube, [configMap('held')], { namespace, timeoutMs: 500 })).rejects.toMatchObject({
      code: 'WAIT_TIMED_OUT',
      message: expect.stringContaining('mayfly.test/hold'),
    })
    const applying = applyAll(kube, [configMap('held')], { namespace })
    await release()
    const [applied] = await applying
    expect(applied?.metadata.deletionTimestamp).toBeUndefined()
  })

  test('a webhook that does not answer yet', async () => {
    const namespace = await testNamespace(kube)
    const webhook = {
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind: 'ValidatingWebhookConfiguration',
      metadata: { name: namespace },
      webhooks: [
        {
          name: 'a.mayfly.test',
          admissionReviewVersions: ['v1'],
          sideEffects: 'None',
          clientConfig: { service: { namespace, name: 'nobody' } },
          namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': namespace } },
          rules: [
            { apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['configmaps'] },
          ],
        },
      ],
    }
    onTestFinished(async () => void (await remove(kube, webhook)))
    await applyAll(kube, [webhook])
    // The API server takes a moment to obey a new webhook.
    await waitFor(kube, webhook, 'exists', { timeoutMs: 5000 })
    const probe = () => applyAll(kube, [configMap('a')], { namespace, timeoutMs: 1000 })
    await expect
      .poll(
        () =>
          probe()
            .then(() => remove(kube, 'cm/a', { namespace }))
            .then(() => 'applied', String),
        { timeout: 10_000 },
      )
      .toMatch(
        /Waited 1 s for ConfigMap .* to be accepted; last seen: .*failed calling webhook "a.mayfly.test"/,
      )
    const applying = applyAll(kube, [configMap('a')], { namespace })
    await remove(kube, webhook)
    await expect(applying).resolves.toHaveLength(1)
  })

  test('an aborted apply ends', async () => {
    const ended = new AbortController()
    const held = {
      ...configMap('a'),
      metadata: { name: 'a', namespace: await testNamespace(kube), finalizers: ['mayfly.test/hold'] },
    }
    await create(kube, held)
    await remove(kube, held)
    const applying = applyAll(kube, [held], { signal: ended.signal })
    ended.abort()
    await expect(applying).rejects.toMatchObject({ code: 'WAIT_ABORTED' })
    await patch(kube, held, { metadata: { finalizers: null } })
  })
})

test('a kustomization is built by kubectl and applied', async () => {
  const namespace = await testNamespace(kube)
  await applyAll(kube, await loadManifests('kustomize/overlay', { cwd }), { namespace })
  expect(await get(kube, 'cm/overlay-settings', { namespace })).toMatchObject({ data: { level: 'overlay' } })
})
