import { describe, expect, test } from 'vitest'
import { withChanges } from '../../src/node-image/kubernetes-changes.ts'

const file = 'pkg/kubelet/config/apiserver.go'

describe('waits of Kubernetes that no flag shortens', () => {
  test('are shortened where upstream has them', () => {
    const upstream = 'package config\n\nconst WaitForAPIServerSyncPeriod = 1 * time.Second\n'
    expect(withChanges(file, upstream)).toBe(
      'package config\n\nconst WaitForAPIServerSyncPeriod = 20 * time.Millisecond\n',
    )
  })

  test('are not missed in silence when a version words them otherwise', () => {
    expect(() => withChanges(file, 'package config\n')).toThrow(
      /apiserver\.go has no "WaitForAPIServerSyncPeriod = 1 \* time\.Second"/,
    )
  })
})
