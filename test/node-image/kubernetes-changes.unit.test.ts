import { describe, expect, test } from 'vitest'
import { sourceChanges, withChanges } from '../../src/node-image/kubernetes-changes.ts'

const changes = sourceChanges.filter(({ file }) => file === 'pkg/kubelet/config/apiserver.go')

describe('waits of Kubernetes that no flag shortens', () => {
  test('are shortened where upstream has them', () => {
    const upstream = 'package config\n\nconst WaitForAPIServerSyncPeriod = 1 * time.Second\n'
    expect(withChanges(upstream, changes)).toBe(
      'package config\n\nconst WaitForAPIServerSyncPeriod = 20 * time.Millisecond\n',
    )
  })

  test('are not missed in silence when a version words them otherwise', () => {
    expect(() => withChanges('package config\n', changes)).toThrow(
      /apiserver\.go has no "WaitForAPIServerSyncPeriod = 1 \* time\.Second"/,
    )
  })
})
