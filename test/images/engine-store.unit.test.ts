import { expect, test } from 'vitest'
import { engineStoreMounts } from '../../src/images/index.ts'

const docker = {
  kind: 'docker' as const,
  storageDriver: 'overlay2',
  rootless: false,
  rootDir: '/data/docker',
  securityOptions: ['name=seccomp,profile=default'],
}

test('nodes get the layers and the image database of a plain Docker, and can write neither', () => {
  const { mounts, why } = engineStoreMounts(docker)
  expect(why).toBeUndefined()
  expect(mounts.map(({ source }) => source)).toEqual(['/data/docker/overlay2', '/data/docker/image/overlay2'])
  expect(mounts.every(({ readOnly, nonRecursive }) => readOnly && nonRecursive)).toBe(true)
})

test.each([
  [{ kind: 'podman' as const }, /podman keeps its images in another form/],
  [{ storageDriver: 'overlayfs' }, /stores images with "overlayfs"/],
  [{ rootless: true }, /rootless/],
  [{ securityOptions: ['name=userns'] }, /remaps user ids/],
])('%o gets none, and says why', (difference, why) => {
  const answer = engineStoreMounts({ ...docker, ...difference })
  expect(answer.mounts).toEqual([])
  expect(answer.why).toMatch(why)
})
