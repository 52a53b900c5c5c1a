import { expect, test } from 'vitest'
import { imagesInTable } from '../../src/images/loaded.ts'

test('images of a node are told apart from those that its node image brought', () => {
  const table = `REF TYPE DIGEST SIZE PLATFORMS LABELS
docker.io/library/app:dev application/vnd.oci.image.manifest.v1+json sha256:aaa 2.1 MiB linux/amd64 io.cri-containerd.image=managed
docker.io/library/app:1   application/vnd.oci.image.manifest.v1+json sha256:aaa 2.1 MiB linux/amd64 io.cri-containerd.image=managed
registry.k8s.io/pause:3.10.2 application/vnd.oci.image.manifest.v1+json sha256:bbb 677 KiB linux/amd64 io.cri-containerd.image=managed,io.cri-containerd.pinned=pinned
sha256:111 application/vnd.oci.image.manifest.v1+json sha256:aaa 2.1 MiB linux/amd64 io.cri-containerd.image=managed
sha256:222 application/vnd.oci.image.manifest.v1+json sha256:bbb 677 KiB linux/amd64 io.cri-containerd.image=managed,io.cri-containerd.pinned=pinned
`
  expect(imagesInTable(table)).toEqual([
    { id: 'sha256:111', names: ['docker.io/library/app:dev', 'docker.io/library/app:1'] },
  ])
})

test('an image that the engine knows by another digest than its configuration’s has the engine’s id', () => {
  const labels = 'io.cri-containerd.image=managed,io.mayfly.image.engine-id=sha256:0e1'
  const table = `REF TYPE DIGEST SIZE PLATFORMS LABELS
docker.io/library/app:dev application/vnd.oci.image.manifest.v1+json sha256:aaa 2.1 MiB linux/amd64 ${labels}
sha256:111 application/vnd.oci.image.manifest.v1+json sha256:aaa 2.1 MiB linux/amd64 ${labels}
`
  expect(imagesInTable(table)).toEqual([{ id: 'sha256:0e1', names: ['docker.io/library/app:dev'] }])
})
