import { describe, expect, test } from 'vitest'
import { jsonPath } from '../../src/kube/index.ts'

const pod = {
  metadata: { name: 'web', labels: { 'app.kubernetes.io/name': 'web', tier: 'front' } },
  spec: {
    containers: [
      { name: 'app', image: 'app:1', ports: [{ containerPort: 80 }, { containerPort: 443 }] },
      { name: 'proxy', image: 'proxy:2', ports: [{ containerPort: 15000 }] },
    ],
  },
  status: {
    phase: 'Running',
    restarts: 0,
    conditions: [
      { type: 'Ready', status: 'True' },
      { type: 'Initialized', status: 'False' },
    ],
  },
}

test.each([
  ['{.status.phase}', ['Running']],
  ['.status.phase', ['Running']],
  ['status.phase', ['Running']],
  ['{$.status.phase}', ['Running']],
  ['{.status.restarts}', [0]],
  ['{.spec.containers[0].name}', ['app']],
  ['{.spec.containers[-1].name}', ['proxy']],
  ['{.spec.containers[0:1].name}', ['app']],
  ['{.spec.containers[:].name}', ['app', 'proxy']],
  ['{.spec.containers[*].image}', ['app:1', 'proxy:2']],
  ['{.spec.containers[*].ports[*].containerPort}', [80, 443, 15000]],
  ['{..containerPort}', [80, 443, 15000]],
  ['{.status.conditions[?(@.type=="Ready")].status}', ['True']],
  ["{.status.conditions[?(@.type=='Initialized')].status}", ['False']],
  ["{.status.conditions[?(@.type != 'Ready')].type}", ['Initialized']],
  ['{.spec.containers[1].ports[?(@.containerPort > 1024)].containerPort}', [15000]],
  ['{.spec.containers[0].ports[?(@.containerPort <= 80)].containerPort}', [80]],
  ['{.spec.containers[?(@.ports)].name}', ['app', 'proxy']],
  ['{.metadata.labels.app\\.kubernetes\\.io/name}', ['web']],
  ["{.metadata.labels['app.kubernetes.io/name']}", ['web']],
  ['{.metadata.labels["tier"]}', ['front']],
])('%s', (path, found) => {
  expect(jsonPath(path, pod)).toEqual(found)
})

test('what is missing is not found, which is no error', () => {
  expect(jsonPath('{.status.podIP}', pod)).toEqual([])
  expect(jsonPath('{.no.such.thing[0]}', pod)).toEqual([])
  expect(jsonPath('{.spec.containers[7].name}', pod)).toEqual([])
  expect(jsonPath('{.metadata.constructor}', pod)).toEqual([])
})

describe('a path that cannot be read', () => {
  test.each(['{.status.phase', '{.a[}', '{.a[?(@.b==unquoted)]}', '{.a b}'])('%s', (path) => {
    expect(() => jsonPath(path, pod)).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }))
  })
})
