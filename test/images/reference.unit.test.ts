import { expect, test } from 'vitest'
import { parseCtrImages } from '../../src/images/nodes.ts'
import { isImageId, nearNames, nodeReference } from '../../src/images/reference.ts'

const digest = `sha256:${'ab'.repeat(32)}`

test.each([
  ['app', 'docker.io/library/app:latest'],
  ['app:dev', 'docker.io/library/app:dev'],
  ['team/app:dev', 'docker.io/team/app:dev'],
  ['docker.io/app', 'docker.io/library/app:latest'],
  ['index.docker.io/team/app:1', 'docker.io/team/app:1'],
  ['localhost/app', 'localhost/app:latest'],
  ['localhost:5000/app:1', 'localhost:5000/app:1'],
  ['ghcr.io/team/app', 'ghcr.io/team/app:latest'],
  [`ghcr.io/team/app@${digest}`, `ghcr.io/team/app@${digest}`],
  [`app:dev@${digest}`, `docker.io/library/app@${digest}`],
])('nodes look "%s" up as "%s"', (written, full) => {
  expect(nodeReference(written)).toBe(full)
})

test('an id is known in full and shortened, and a name is none', () => {
  expect(isImageId(digest, digest)).toBe(true)
  expect(isImageId('abababababab', digest)).toBe(true)
  expect(isImageId('cdcdcdcdcdcd', digest)).toBe(false)
  expect(isImageId('app', digest)).toBe(false)
})

test('near names are other tags first, then slips of the pen, and no others', () => {
  const known = ['my-controller:dev', 'my-controler:dev', 'postgres:16', 'my-controller:v1']
  expect(nearNames('my-controller:devel', known)).toEqual([
    'my-controller:dev',
    'my-controller:v1',
    'my-controler:dev',
  ])
  expect(nearNames('redis', known)).toEqual([])
})

test("ctr's table is read by its columns", () => {
  const table = [
    'REF                 TYPE                                       DIGEST        SIZE    PLATFORMS   LABELS ',
    'docker.io/library/a:1 application/vnd.oci.image.manifest.v1+json sha256:aa 2.1 MiB linux/amd64 -      ',
    '',
  ].join('\n')
  expect(parseCtrImages(table)).toEqual([{ name: 'docker.io/library/a:1', target: 'sha256:aa' }])
})
