import { describe, expect, test } from 'vitest'
import { withShortWaits } from '../../src/node-image/kubernetes-waits.ts'

const file = 'pkg/kubelet/config/apiserver.go'

describe('waits of Kubernetes that no flag shortens', () => {
  test('are shortened where upstream has them', () => {
    const upstream = 'package config\n\nconst WaitForAPIServerSyncPeriod = 1 * time.Second\n'
    expect(withShortWaits(file, upstream)).toBe(
      'package config\n\nconst WaitForAPIServerSyncPeriod = 20 * time.Millisecond\n',
    )
  })

  test('are not missed in silence when a version words them otherwise', () => {
    expect(() => withShortWaits(file, 'package config\n')).toThrow(
      /apiserver\.go has no "WaitForAPIServerSyncPeriod = 1 \* time\.Second"/,
    )
  })
})
