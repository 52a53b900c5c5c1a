import { randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { zstdCompressSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { imagesOf, readArchive } from '../../src/images/archive.ts'
import { configOf, dockerArchive, ociArchive, sha256, tar } from './made-images.ts'

const read = async (archive: Buffer) => readArchive(Readable.from([archive]), 'a.tar')
const layer = (content: string) => tar([{ path: 'file', content }])

test('an archive of docker save: layers by diff id, configuration byte for byte', async () => {
  const layers = [await layer('one'), await layer('two')]
  const contents = await read(await dockerArchive([{ names: ['a:1', 'a:2'], layers }]))
  const [image] = imagesOf(contents, 'a.tar', 'linux/amd64')
  expect(image).toMatchObject({
    names: ['a:1', 'a:2'],
    platform: 'linux/amd64',
    config: configOf({ layers }),
    configDigest: sha256(configOf({ layers })),
    layers: layers.map((each) => ({ diffID: sha256(each), entry: `${sha256(each).slice(7)}/layer.tar` })),
  })
  expect([...contents.layers.keys()]).toEqual(image?.layers.map(({ entry }) => entry))
})

test('an OCI layout: the own platform is picked, attestations are passed over, digests are kept', async () => {
  const [ours, theirs] = [[await layer('ours')], [await layer('theirs')]]
  const archive = await ociArchive([
    { names: ['a:1'], layers: theirs, architecture: 'arm64' },
    { names: ['a:1'], layers: ours },
  ])
  const [image, ...others] = imagesOf(await read(archive), 'a.tar', 'linux/amd64')
  expect(others).toEqual([])
  expect(image).toMatchObject({ names: ['a:1'], configDigest: sha256(configOf({ layers: ours })) })
  expect(image?.layers.map(({ diffID }) => diffID)).toEqual(ours.map(sha256))
  // Known by its index, its manifest and its configuration.
  expect(image?.ids).toHaveLength(3)
  expect(image?.ids).toContain(sha256(image?.manifest ?? ''))
})

test('links stand for the layers that they lead to, as in archives of Docker before 25', async () => {
  const same = await layer('same')
  const config = configOf({ layers: [same, same] })
  const manifest = [{ Config: 'c.json', RepoTags: ['a:1'], Layers: ['x/layer.tar', 'y/layer.tar'] }]
  const archive = await tar([
    { path: 'c.json', content: config },
    { path: 'x/layer.tar', content: same },
    { path: 'y/layer.tar', linkTo: '../x/layer.tar' },
    { path: 'manifest.json', content: JSON.stringify(manifest) },
  ])
  const [image] = imagesOf(await read(archive), 'a.tar', 'linux/amd64')
  expect(image?.layers.map(({ entry }) => entry)).toEqual(['x/layer.tar', 'x/layer.tar'])
})

test('layers are told from documents by what they are: plain, zstd, empty, before POSIX', async () => {
  const plain = await layer('x')
  const old = Buffer.from(plain)
  old.fill(0, 257, 265)
  old.write('        ', 148, 'latin1')
  const sum = old.subarray(0, 512).reduce((total, byte) => total + byte, 0)
  old.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  const { layers, documents } = await read(
    await tar([
      { path: 'plain', content: plain },
      { path: 'old', content: old },
      { path: 'zstd', content: zstdCompressSync(plain) },
      { path: 'empty', content: Buffer.alloc(1024) },
      { path: 'VERSION', content: '1.0' },
      { path: 'json', content: '{}' },
    ]),
  )
  expect([...layers.keys()]).toEqual(['plain', 'old', 'zstd', 'empty'])
  expect([...documents.keys()]).toEqual(['VERSION', 'json'])
})

test('an image for another architecture is told with both', async () => {
  const image = { names: ['a:1'], layers: [await layer('x')], architecture: 's390x' }
  for (const archive of [await dockerArchive([image]), await ociArchive([image])]) {
    const contents = await read(archive)
    expect(() => imagesOf(contents, 'a.tar', 'linux/amd64')).toThrow(
      'Image "a.tar" is for linux/s390x, and the nodes are linux/amd64',
    )
  }
})

test.each([
  ['is cut off', async () => (await dockerArchive([])).subarray(0, 700), /end of data/],
  ['is noise', async () => randomBytes(4096), /header/],
  ['is empty', async () => Buffer.alloc(0), /neither a manifest.json/],
  ['has no JSON', async () => tar([{ path: 'manifest.json', content: '{' }]), /manifest.json is not JSON/],
  [
    'lacks the configuration',
    async () => tar([{ path: 'manifest.json', content: '[{"Config":"c.json"}]' }]),
    /c.json is missing/,
  ],
  [
    'lists another number of layers than the configuration',
    async () =>
      tar([
        { path: 'c.json', content: configOf({ layers: [] }) },
        { path: 'manifest.json', content: '[{"Config":"c.json","Layers":["a"]}]' },
      ]),
    /lists 1 layers, and its configuration 0/,
  ],
])('an archive that %s is unreadable', async (_, archive, why) => {
  const load = async () => imagesOf(await read(await archive()), 'a.tar', 'linux/amd64')
  await expect(load()).rejects.toMatchObject({
    code: 'IMAGE_UNREADABLE',
    message: expect.stringMatching(why),
  })
})

test('what a visitor leaves unread is read on', async () => {
  const seen: string[] = []
  const archive = await dockerArchive([{ names: ['a:1'], layers: [await layer('x')] }])
  const contents = await readArchive(Readable.from([archive]), 'a.tar', async ({ header, isLayer }) => {
    seen.push(`${isLayer ? 'layer' : 'document'} ${header.name.slice(-9)}`)
  })
  expect(seen).toEqual(['layer layer.tar', expect.stringMatching(/document .*json/), 'document fest.json'])
  expect(imagesOf(contents, 'a.tar', 'linux/amd64')).toHaveLength(1)
})
