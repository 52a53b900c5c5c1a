import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { loadManifests } from '../../src/kube/index.ts'
import { inApplyOrder } from '../../src/kube/order.ts'

const cwd = fileURLToPath(new URL('../../fixtures/manifests', import.meta.url))

test('objects are applied in the order of dependency, not of files', async () => {
  const webhook = {
    apiVersion: 'admissionregistration.k8s.io/v1',
    kind: 'ValidatingWebhookConfiguration',
    metadata: { name: 'widgets' },
  }
  const binding = {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'RoleBinding',
    metadata: { name: 'web' },
  }
  const role = { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'Role', metadata: { name: 'web' } }
  const objects = await loadManifests([webhook, 'widgets', 'shop', binding, role], { cwd })
  const stages = inApplyOrder(objects).map(({ stage, objects }) => [
    stage.name,
    ...objects.map(({ kind }) => kind),
  ])
  expect(stages).toEqual([
    ['namespaces', 'Namespace'],
    ['definitions', 'CustomResourceDefinition'],
    ['ground', 'ServiceAccount', 'Role'],
    ['configuration', 'ConfigMap', 'ConfigMap', 'RoleBinding'],
    ['services', 'Service'],
    ['workloads', 'Deployment'],
    ['others', 'Widget'],
    ['admission', 'ValidatingWebhookConfiguration'],
  ])
})

test('a kind of the same name in another group is not mistaken for it', () => {
  const knative = { apiVersion: 'serving.knative.dev/v1', kind: 'Service', metadata: { name: 'web' } }
  expect(inApplyOrder([knative]).map(({ stage }) => stage.name)).toEqual(['others'])
})
