import { expect, test } from 'vitest'
import { engineStoreMounts } from '../../src/images/index.ts'

const docker = {
  kind: 'docker' as const,
  storageDriver: 'overlay2',
  storageStatus: { 'Native Overlay Diff': 'true' },
  rootless: false,
  rootDir: '/data/docker',
  securityOptions: ['name=seccomp,profile=default'],
}

test('nodes get the layers and the image database of a plain Docker, can write neither, and see no mounts below', () => {
  const { mounts, why } = engineStoreMounts(docker)
  expect(why).toBeUndefined()
  const options = mounts.map((mount) => ('driverOptions' in mount ? mount.driverOptions : undefined))
  expect(options).toEqual([
    { type: 'none', o: 'bind,ro,private', device: '/data/docker/overlay2' },
    { type: 'none', o: 'bind,ro,private', device: '/data/docker/image/overlay2' },
  ])
})

const podman = {
  ...{ ...docker, kind: 'podman' as const },
  ...{ storageDriver: 'overlay', rootDir: '/data/containers' },
}

test("nodes get the same of Podman's store", () => {
  expect(engineStoreMounts(podman)).toEqual({
    mounts: ['overlay', 'overlay-images', 'overlay-layers'].map((folder) => ({
      ...{ type: 'bind', source: `/data/containers/${folder}`, target: expect.stringContaining('/mayfly/') },
      ...{ readOnly: true, recursive: false, propagation: 'private' },
    })),
  })
})

test('a Podman whose layers only its own mount program understands gives none', () => {
  const answer = engineStoreMounts({ ...podman, storageStatus: { 'Native Overlay Diff': 'false' } })
  expect(answer.mounts).toEqual([])
  expect(answer.why).toMatch(/not as the kernel's overlay has them/)
})

test.each([
  [{ storageDriver: 'overlayfs' }, /stores images with "overlayfs"/],
  [{ kind: 'podman' as const, storageDriver: 'vfs' }, /stores images with "vfs", .* of "overlay"/],
  [{ rootless: true }, /rootless/],
  [{ securityOptions: ['name=userns'] }, /remaps user ids/],
  [{ securityOptions: ['name=selinux'] }, /labels volumes for SELinux/],
])('%o gets none, and says why', (difference, why) => {
  const answer = engineStoreMounts({ ...docker, ...difference })
  expect(answer.mounts).toEqual([])
  expect(answer.why).toMatch(why)
})
