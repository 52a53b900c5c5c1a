import { expect, test } from 'vitest'
import type { Engine } from '../../src/engine/index.ts'
import { engineStoreMounts, storeKind, whyNotShared } from '../../src/images/engine-store.ts'

const docker = {
  kind: 'docker',
  storageDriver: 'overlay2',
  storageStatus: { 'Native Overlay Diff': 'true' },
  rootless: false,
  rootDir: '/data/docker',
  securityOptions: ['name=seccomp,profile=default'],
} as Partial<Engine> as Engine

const mountsOf = (engine: Engine) => engineStoreMounts(engine, 'mayfly/node:dev', { labels: {} })

test('nodes get the layers and the image database of a plain Docker, can write neither, and see no mounts below', async () => {
  const mounts = await mountsOf(docker)
  const options = mounts.map((mount) => ('driverOptions' in mount ? mount.driverOptions : undefined))
  expect(options).toEqual([
    { type: 'none', o: 'bind,ro,private', device: '/data/docker/overlay2' },
    { type: 'none', o: 'bind,ro,private', device: '/data/docker/image/overlay2' },
  ])
  expect(whyNotShared(docker)).toBeUndefined()
})

const podman: Engine = { ...docker, kind: 'podman', storageDriver: 'overlay', rootDir: '/data/containers' }

test("nodes get the same of Podman's store", async () => {
  expect(await mountsOf(podman)).toEqual(
    ['overlay', 'overlay-images', 'overlay-layers'].map((folder) => ({
      ...{ type: 'bind', source: `/data/containers/${folder}`, target: expect.stringContaining('/mayfly/') },
      ...{ readOnly: true, recursive: false, propagation: 'private' },
    })),
  )
  expect(whyNotShared(podman)).toBeUndefined()
})

const inContainerd: Engine = {
  ...docker,
  storageDriver: 'overlayfs',
  storageStatus: { 'driver-type': 'io.containerd.snapshotter.v1' },
}

test("each engine's store is known by what it says of it", () => {
  expect([docker, podman, inContainerd].map(storeKind)).toEqual(['overlay2', 'overlay', 'containerd'])
  expect(whyNotShared(inContainerd)).toBeUndefined()
})

test.each([
  [{ storageDriver: 'btrfs' }, /stores images with "btrfs", .* of "overlay2" or containerd's "overlayfs"/],
  [{ storageDriver: 'overlayfs' }, /stores images with "overlayfs"/],
  [{ ...inContainerd, storageDriver: 'native' }, /stores images with "native"/],
  [{ ...podman, storageDriver: 'vfs' }, /stores images with "vfs", .* of "overlay"/],
  [{ ...podman, storageStatus: { 'Native Overlay Diff': 'false' } }, /not as the kernel's overlay has them/],
  [{ rootless: true }, /rootless/],
  [{ securityOptions: ['name=userns'] }, /remaps user ids/],
  [{ securityOptions: ['name=selinux'] }, /labels volumes for SELinux/],
])('%o gets none, and says why', async (difference, why) => {
  const engine = { ...docker, ...difference }
  expect(await mountsOf(engine)).toEqual([])
  expect(whyNotShared(engine)).toMatch(why)
})
