import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Cluster, createCluster, getCluster } from '../../src/index.ts'
import {
  applyAll,
  execInPod,
  find,
  get,
  type KubeObject,
  list,
  podLogs,
  remove,
  waitAvailable,
  waitFor,
} from '../../src/kube/index.ts'
import { controlPlaneFiles, createAuthorities } from '../../src/pki/index.ts'
import { curl } from '../../src/session/curl.ts'
import { until } from '../../src/wait.ts'
import { heldCustomResource, namespace, stubbornDeployment } from '../snapshot/suite.ts'

const limits = { timeoutMs: 30_000 }
let cluster: Cluster

beforeAll(async () => {
  cluster = await createCluster({ controlPlaneOnly: true })
})
afterAll(() => cluster?.delete())

const configMap = (name: string, more: object = {}): KubeObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name, namespace: 'shop', ...more },
})

test('it has the default namespaces with their ServiceAccounts, no node, and no right of the host', async () => {
  const { kube } = cluster
  const names = (await list(kube, { apiVersion: 'v1', kind: 'Namespace' })).map(
    ({ metadata }) => metadata.name,
  )
  expect(names.sort()).toEqual(['default', 'kube-node-lease', 'kube-public', 'kube-system'])
  const accounts = await list(kube, { apiVersion: 'v1', kind: 'ServiceAccount' })
  for (const name of names) {
    expect(
      accounts.some(({ metadata }) => metadata.namespace === name && metadata.name === 'default'),
      name,
    ).toBe(true)
  }
  expect(await list(kube, { apiVersion: 'v1', kind: 'Node' })).toEqual([])
  expect(await list(kube, { apiVersion: 'v1', kind: 'Pod' })).toEqual([])
  expect(await list(kube, { apiVersion: 'apps/v1', kind: 'Deployment' })).toEqual([])
  expect(cluster.controlPlaneOnly).toBe(true)
  const { stdout } = (await cluster.nodes[0]?.exec(['grep', 'CapEff', '/proc/1/status'])) ?? {}
  expect(stdout?.split(/\s+/)[1]).toMatch(/^0+$/)
})

test('a policy that mutates applies to the first object already, though nobody has asked for its type before', async () => {
  const { kube } = cluster
  const apiVersion = 'admissionregistration.k8s.io/v1'
  const configMaps = { apiGroups: [''], apiVersions: ['v1'], resources: ['configmaps'] }
  const expression = 'Object{metadata: Object.metadata{labels: {"mutated": "yes"}}}'
  const policy = {
    apiVersion,
    kind: 'MutatingAdmissionPolicy',
    metadata: { name: 'mutate' },
    spec: {
      failurePolicy: 'Fail',
      reinvocationPolicy: 'Never',
      matchConstraints: { resourceRules: [{ ...configMaps, operations: ['CREATE'] }] },
      mutations: [{ patchType: 'ApplyConfiguration', applyConfiguration: { expression } }],
    },
  }
  const binding = {
    apiVersion,
    kind: 'MutatingAdmissionPolicyBinding',
    metadata: { name: 'mutate' },
    spec: { policyName: 'mutate' },
  }
  await applyAll(kube, [policy, binding], limits)
  let count = 0
  const refusals: unknown[] = []
  // The API server takes a moment to know the policy; an object that it applies to must not be refused even once.
  const labels = await until(
    'an object to be mutated',
    async () => {
      count += 1
      const body = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: `mutated-${count}` } }
      const path = '/api/v1/namespaces/default/configmaps'
      const made = kube.request<KubeObject>('POST', path, { body })
      made.catch((thrown: unknown) => refusals.push(thrown))
      return (await made).metadata['labels']
    },
    limits,
  )
  expect(labels).toMatchObject({ mutated: 'yes' })
  expect(refusals).toEqual([])
  await Promise.all([policy, binding].map((one) => remove(kube, one)))
})

test('the types of expressions in the first policy are checked, of built-in types and of others', async () => {
  const { kube } = cluster
  const apiVersion = 'admissionregistration.k8s.io/v1'
  const policy = {
    apiVersion,
    kind: 'ValidatingAdmissionPolicy',
    metadata: { name: 'checked' },
    spec: {
      matchConstraints: {
        resourceRules: [
          { apiGroups: ['apps'], apiVersions: ['v1'], resources: ['deployments'], operations: ['CREATE'] },
          // Its schema is the API server's to tell.
          {
            apiGroups: ['apiregistration.k8s.io'],
            apiVersions: ['v1'],
            resources: ['apiservices'],
            operations: ['CREATE'],
          },
        ],
      },
      validations: [{ expression: 'object.spec.replicas > 1' }],
    },
  }
  await applyAll(kube, [policy], limits)
  const warnings = await until(
    'the policy to be checked',
    async () => {
      const status = (await get(kube, policy))['status'] as
        | { typeChecking?: { expressionWarnings?: { warning: string }[] } }
        | undefined
      return status?.typeChecking && (status.typeChecking.expressionWarnings ?? [])
    },
    limits,
  )
  expect(warnings).toEqual([
    expect.objectContaining({ warning: expect.stringContaining("undefined field 'replicas'") }),
  ])
  expect(warnings[0]?.warning).toContain('APIService')
  expect(warnings[0]?.warning).not.toContain('Deployment')
  await remove(kube, policy)
})

test("its types are described in OpenAPI's versions 2 and 3", async () => {
  const { paths, definitions } = await cluster.kube.request<Record<'paths' | 'definitions', object>>(
    'GET',
    '/openapi/v2',
  )
  expect(definitions).toHaveProperty(['io.k8s.api.core.v1.Pod', 'properties', 'spec'])
  expect(paths).toHaveProperty(['/apis/apps/v1/namespaces/{namespace}/deployments/{name}', 'patch'])
  // The description of the server of custom resources, which is joined to the others'.
  expect(paths).toHaveProperty(['/apis/apiextensions.k8s.io/v1/customresourcedefinitions'])
  const { stdout } = await cluster.kubectl(['get', '--raw', '/openapi/v3'])
  const versions = JSON.parse(stdout).paths
  expect(versions).toHaveProperty(['apis/apiextensions.k8s.io/v1'])
  const described = await cluster.kubectl(['get', '--raw', versions['apis/apps/v1'].serverRelativeURL])
  expect(JSON.parse(described.stdout).components.schemas).toHaveProperty(['io.k8s.api.apps.v1.Deployment'])
})

describe('controllers work that envtest lacks:', () => {
  test('a namespace ends, with all that is in it', async () => {
    const { kube } = cluster
    await applyAll(kube, [namespace('shop'), configMap('one'), stubbornDeployment('web', 'shop', 2)], limits)
    await remove(kube, namespace('shop'))
    await waitFor(kube, namespace('shop'), 'deleted', limits)
    expect(await find(kube, configMap('one'))).toBeUndefined()
  })

  test('what is owned goes with its owner', async () => {
    const { kube } = cluster
    const [, owner] = await applyAll(kube, [namespace('shop'), configMap('owner')], limits)
    const uid = owner?.metadata.uid
    const ownerReferences = [{ apiVersion: 'v1', kind: 'ConfigMap', name: 'owner', uid }]
    await applyAll(kube, [configMap('owned', { ownerReferences })], limits)
    await remove(kube, configMap('owner'))
    await waitFor(kube, configMap('owned'), 'deleted', limits)
  })

  test('a Deployment gets its pods, which nobody runs', async () => {
    const { kube } = cluster
    await applyAll(kube, [namespace('shop'), stubbornDeployment('web', 'shop', 2)], limits)
    await waitFor(
      kube,
      { apiVersion: 'apps/v1', kind: 'Deployment', name: 'web', namespace: 'shop' },
      { jsonPath: '{.status.replicas}', value: 2 },
      limits,
    )
    const pods = await list(kube, { apiVersion: 'v1', kind: 'Pod' }, { namespace: 'shop' })
    expect(pods.map(({ status }) => status?.phase)).toEqual(['Pending', 'Pending'])
  })
})

test('webhooks are called by their URL', async () => {
  const { kube } = cluster
  const asked: string[] = []
  const { key, cert, ca, gateway } = await servingPair()
  const server = createServer({ key, cert }, async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const { request: review } = JSON.parse(Buffer.concat(chunks).toString())
    asked.push(review.name)
    const allowed = review.name !== 'forbidden'
    const answer = { uid: review.uid, allowed, ...(!allowed && { status: { message: 'not this one' } }) }
    response.setHeader('content-type', 'application/json')
    response.end(
      JSON.stringify({ apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', response: answer }),
    )
  })
  await new Promise<void>((resolve) => server.listen(0, '0.0.0.0', resolve))
  const { port } = server.address() as AddressInfo
  try {
    const webhook = {
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind: 'ValidatingWebhookConfiguration',
      metadata: { name: 'by-url' },
      webhooks: [
        {
          name: 'by-url.suite.example',
          clientConfig: {
            url: `https://${gateway}:${port}/`,
            caBundle: Buffer.from(ca).toString('base64'),
          },
          rules: [
            { apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['configmaps'] },
          ],
          namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'shop' } },
          admissionReviewVersions: ['v1'],
          sideEffects: 'None',
          failurePolicy: 'Fail',
        },
      ],
    }
    await applyAll(kube, [namespace('shop'), webhook], limits)
    // The API server learns of the webhook a moment later.
    await expect
      .poll(() => applyAll(kube, [configMap('forbidden')], limits).catch(String), { timeout: 10_000 })
      .toContain('not this one')
    await applyAll(kube, [configMap('allowed')], limits)
    expect(asked).toContain('allowed')
    await remove(kube, webhook as KubeObject)
  } finally {
    server.close()
  }
})

/** A certificate for the address at which the cluster's container reaches this host. */
async function servingPair(): Promise<{ key: string; cert: string; ca: string; gateway: string }> {
  const [address = ''] = cluster.nodes[0]?.addresses ?? []
  const gateway = address.replace(/\d+$/, '1')
  const server = { name: 'hook', apiServerEndpoint: 'https://hook:1', serviceIps: [], extraSans: [] }
  const files = await controlPlaneFiles(await createAuthorities(), { name: 'hook', ips: [gateway] }, server)
  const read = (name: string) => {
    const file = files.find(({ path }) => path.endsWith(`/pki/${name}`))
    return file && 'content' in file ? file.content : ''
  }
  return { key: read('apiserver.key'), cert: read('apiserver.crt'), ca: read('ca.crt'), gateway }
}

describe('roll-back', () => {
  test('leaves nothing of a suite, and brings back what it deleted', async () => {
    const { kube } = cluster
    await applyAll(kube, [namespace('kept'), namespace('shop')], limits)
    const snapshot = await cluster.snapshot('before', { objects: true })
    await applyAll(
      kube,
      [...heldCustomResource('widgets', 'Widget', 'shop'), stubbornDeployment('other', 'shop', 3)],
      limits,
    )
    await remove(kube, namespace('kept'))
    await waitFor(kube, namespace('kept'), 'deleted', limits)
    const report = await cluster.rollback(snapshot, { verify: 'full' })
    expect(report).toMatchObject({ way: 'in-place', pending: [] })
    expect(await find(kube, namespace('kept'))).toBeDefined()
    expect(await list(kube, { apiVersion: 'v1', kind: 'Pod' }, { namespace: 'shop' })).toHaveLength(2)
    // Controllers go on with what they know now.
    await remove(kube, namespace('kept'))
    await waitFor(kube, namespace('kept'), 'deleted', limits)
  })
})

test('its state outlives a stop, and others are made of it', async () => {
  await applyAll(cluster.kube, [namespace('shop'), configMap('kept')], limits)
  await cluster.stop()
  await cluster.start()
  expect(await get(cluster.kube, configMap('kept'))).toBeDefined()
  const snapshot = await cluster.snapshot('installed')
  await using another = await createCluster({ from: snapshot })
  expect(another.controlPlaneOnly).toBe(true)
  expect(await get(another.kube, configMap('kept'))).toBeDefined()
  await expect(createCluster({ from: snapshot, controlPlaneOnly: false })).rejects.toMatchObject({
    code: 'SNAPSHOT_UNFIT',
  })
})

test('what needs a pod that runs is refused at once', async () => {
  await using found = await getCluster(cluster.name)
  for (const { kube } of [cluster, found]) {
    const refusals: [string, () => Promise<unknown>][] = [
      ['exec', () => execInPod(kube, 'web', ['true'])],
      ['logs', () => podLogs(kube, 'web')],
      ['curl', () => curl(kube, 'default', 'http://web', {}, limits)],
      ['waiting for a Deployment', () => waitAvailable(kube, [stubbornDeployment('web', 'shop', 1)], limits)],
    ]
    for (const [what, refused] of refusals) {
      const begun = performance.now()
      await expect(refused(), what).rejects.toMatchObject({ code: 'CONTROL_PLANE_ONLY' })
      expect(performance.now() - begun, what).toBeLessThan(1000)
    }
  }
  for (const refused of [
    () => cluster.loadImages(['anything']),
    () => cluster.addNode(),
    () => cluster.portForward({ kind: 'Service', name: 'web' }, 80),
  ]) {
    await expect(refused()).rejects.toMatchObject({
      code: 'CONTROL_PLANE_ONLY',
      hint: 'Create the cluster without `controlPlaneOnly`',
    })
  }
  await expect(
    createCluster({ controlPlaneOnly: true, nodes: ['control-plane', 'worker'] }),
  ).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
})
