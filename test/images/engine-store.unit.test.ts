import { expect, test } from 'vitest'
import { engineStoreMounts } from '../../src/images/index.ts'

const docker = {
  kind: 'docker' as const,
  storageDriver: 'overlay2',
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

test.each([
  [{ kind: 'podman' as const }, /podman keeps its images in another form/],
  [{ storageDriver: 'overlayfs' }, /stores images with "overlayfs"/],
  [{ rootless: true }, /rootless/],
  [{ securityOptions: ['name=userns'] }, /remaps user ids/],
  [{ securityOptions: ['name=selinux'] }, /labels volumes for SELinux/],
])('%o gets none, and says why', (difference, why) => {
  const answer = engineStoreMounts({ ...docker, ...difference })
  expect(answer.mounts).toEqual([])
  expect(answer.why).toMatch(why)
})
