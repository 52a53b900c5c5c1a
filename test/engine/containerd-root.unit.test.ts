import { expect, test } from 'vitest'
import { containerdRootIn } from '../../src/engine/containerd-root.ts'

// A container of Docker 29, the layers shortened.
const mountinfo = (snapshots: string) =>
  [
    '165 164 0:43 / /proc rw,nosuid - proc proc rw',
    `166 75 0:44 / / rw,relatime - overlay overlay rw,lowerdir=${snapshots}/33/fs:${snapshots}/1/fs,upperdir=${snapshots}/34/fs,workdir=${snapshots}/34/work`,
    '167 166 8:1 / /etc/hosts rw - ext4 /dev/vda rw,upperdir=/elsewhere/io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs',
  ].join('\n')

test.each(['/var/lib/containerd', '/var/lib/docker/containerd/daemon'])(
  'the data folder %s is read off the mount of a root file system',
  (root) => {
    expect(containerdRootIn(mountinfo(`${root}/io.containerd.snapshotter.v1.overlayfs/snapshots`))).toBe(root)
  },
)

test.each([
  ['of another snapshotter', '/var/lib/containerd/io.containerd.snapshotter.v1.fuse-overlayfs/snapshots'],
  ["of Docker's own overlay2", '/var/lib/docker/overlay2/l'],
  ['with characters written as numbers', '/a\\040b/io.containerd.snapshotter.v1.overlayfs/snapshots'],
])('a mount %s tells none', (_, snapshots) => {
  expect(containerdRootIn(mountinfo(snapshots))).toBeUndefined()
})
