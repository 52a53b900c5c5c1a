import { expect, test } from 'vitest'
import { withoutSecrets } from '../../src/cluster/export-logs.ts'

test('a Secret is exported with its keys and without its values', () => {
  const secret = {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: {
      name: 'password',
      annotations: { 'kubectl.kubernetes.io/last-applied-configuration': 'c3dvcmRmaXNo', why: 'test' },
    },
    type: 'Opaque',
    data: { word: 'c3dvcmRmaXNo' },
  }
  expect(withoutSecrets(secret)).toEqual({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 'password', annotations: { why: 'test' } },
    type: 'Opaque',
    data: { word: '(not exported)' },
  })
})

test('any other object is exported whole, but for the book-keeping of server-side apply', () => {
  const map = {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'a', managedFields: [{}] },
    data: { b: 'c' },
  }
  expect(withoutSecrets(map)).toEqual({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'a' },
    data: { b: 'c' },
  })
})
