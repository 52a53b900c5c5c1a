import { describe, expect, test } from 'vitest'
import { formatDifferences, partialDiff } from '../../src/kube/index.ts'

const deployment = {
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: {
    name: 'web',
    labels: { 'app.kubernetes.io/name': 'web' },
    creationTimestamp: '2026-01-02T03:04:05Z',
    finalizers: ['a', 'b'],
  },
  spec: {
    replicas: 2,
    template: {
      spec: {
        containers: [
          { name: 'sidecar', image: 'proxy:2' },
          {
            name: 'app',
            image: 'app:1',
            args: ['--a', '--b'],
            ports: [{ containerPort: 80 }, { containerPort: 443 }],
          },
        ],
      },
    },
  },
  status: {
    conditions: [
      { type: 'Progressing', status: 'True' },
      { type: 'Available', status: 'False', reason: 'Few' },
    ],
  },
}

describe('what matches', () => {
  test.each([
    ['nothing asked for', {}],
    ['some of the fields', { spec: { replicas: 2 }, kind: 'Deployment' }],
    [
      'a container by its name, whatever its place',
      { spec: { template: { spec: { containers: [{ name: 'app', image: 'app:1' }] } } } },
    ],
    ['a condition by its type', { status: { conditions: [{ type: 'Available', status: 'False' }] } }],
    [
      'a port by its number',
      { spec: { template: { spec: { containers: [{ name: 'app', ports: [{ containerPort: 443 }] }] } } } },
    ],
    ['a whole list of plain values', { metadata: { finalizers: ['a', 'b'] } }],
    ['what is not there', { metadata: { deletionTimestamp: undefined } }],
    ['a matcher', { metadata: { name: expect.stringMatching(/^w/) } }],
    ['a regular expression', { metadata: { name: /^w/ } }],
    ['a date', { metadata: { creationTimestamp: new Date('2026-01-02T03:04:05.000Z') } }],
  ])('%s', (_, expected) => {
    expect(partialDiff(expected, deployment)).toEqual([])
  })
})

describe('what differs is told by its path', () => {
  test.each([
    [{ spec: { replicas: 3 } }, '.spec.replicas', 3, 2],
    [
      { metadata: { labels: { 'app.kubernetes.io/name': 'api' } } },
      '.metadata.labels["app.kubernetes.io/name"]',
      'api',
      'web',
    ],
    [
      { status: { conditions: [{ type: 'Available', status: 'True' }] } },
      '.status.conditions[type=Available].status',
      'True',
      'False',
    ],
    [
      { status: { conditions: [{ type: 'Gone', status: 'True' }] } },
      '.status.conditions[type=Gone]',
      { type: 'Gone', status: 'True' },
      undefined,
    ],
    [{ metadata: { finalizers: ['b', 'a'] } }, '.metadata.finalizers[0]', 'b', 'a'],
    [{ metadata: { finalizers: ['a'] } }, '.metadata.finalizers', ['a'], ['a', 'b']],
    [{ metadata: { name: undefined } }, '.metadata.name', undefined, 'web'],
    [{ spec: { paused: true } }, '.spec.paused', true, undefined],
    [{ metadata: { name: /^x/ } }, '.metadata.name', /^x/, 'web'],
    [{ spec: [] }, '.spec', [], deployment.spec],
    [{ metadata: { finalizers: [] } }, '.metadata.finalizers', [], ['a', 'b']],
    [
      { spec: { template: { spec: { containers: [{ name: 'app', args: ['--a'] }] } } } },
      '.spec.template.spec.containers[name=app].args',
      ['--a'],
      ['--a', '--b'],
    ],
  ])('%j', (expected, path, wanted, seen) => {
    const [difference] = partialDiff(expected, deployment)
    expect(difference?.path).toBe(path)
    expect(difference?.expected).toEqual(wanted)
    expect(difference?.actual).toEqual(seen)
  })

  test('a failing matcher', () => {
    expect(partialDiff({ spec: { replicas: expect.any(String) } }, deployment)).toMatchObject([
      { path: '.spec.replicas' },
    ])
  })
})

test('a list whose keys are not unique is compared by place', () => {
  const ports = [
    { port: 53, protocol: 'UDP' },
    { port: 53, protocol: 'TCP' },
  ]
  expect(partialDiff({ ports }, { ports })).toEqual([])
  expect(partialDiff({ ports: ports.toReversed() }, { ports })).toHaveLength(2)
})

test('as text: the path, then what was expected and what there is', () => {
  const differences = partialDiff(
    {
      spec: { replicas: 3, paused: true },
      status: { conditions: [{ type: 'Available', status: expect.stringContaining('T') }] },
    },
    deployment,
  )
  expect(formatDifferences(differences)).toMatchInlineSnapshot(`
    ".spec.replicas
      - 3
      + 2
    .spec.paused
      - true
      + (nothing)
    .status.conditions[type=Available].status
      - StringContaining
      + 'False'"
  `)
})
