import { randomBytes, randomUUID } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { gzipSync } from 'node:zlib'
import { execa } from 'execa'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  connectEngine,
  type Engine,
  exec,
  execOrThrow,
  inspectImage,
  killContainer,
  listContainers,
  listVolumes,
  loadImage,
  pauseContainer,
  putFiles,
  readFile,
  removeContainer,
  removeImage,
  removeVolume,
  tagImage,
} from '../../src/engine/index.ts'
import { storeKind } from '../../src/images/engine-store.ts'
import {
  checkSources,
  createLayersVolume,
  holdRole,
  type ImageNode,
  type ImageSource,
  loadImages,
} from '../../src/images/index.ts'
import { label } from '../../src/reaper/index.ts'
import { until } from '../../src/wait.ts'
import { busyboxLayer, dockerArchive, type MadeImage, ociArchive, sha256, tar } from './made-images.ts'
import {
  digestsOf,
  listedImages,
  type NodeOptions,
  restartNode,
  runImage,
  startNode,
  storeOf,
} from './nodes.ts'

const cluster = `mayfly-test-${randomUUID().slice(0, 8)}`
const mebibyte = 2 ** 20
/** Which of an image's digests is its id in the engine. */
const idInEngine = () => (storeKind(engine) === 'containerd' ? 'manifest' : 'id')
let engine: Engine
let folder: string
let busybox: Buffer
const made = new Set<string>()

beforeAll(async () => {
  engine = await connectEngine()
  folder = await mkdtemp(join(tmpdir(), 'images-'))
  busybox = await busyboxLayer()
})
afterAll(async () => {
  for (const { id } of await listContainers(engine, { [label.cluster]: cluster }))
    await removeContainer(engine, id)
  for (const { name } of await listVolumes(engine, { [label.cluster]: cluster }))
    await removeVolume(engine, name)
  for (const name of made) await removeImage(engine, name, { force: true })
  await rm(folder, { recursive: true })
})

let count = 0
const unique = (what: string) => `${cluster}/${what}:${++count}`

/** Puts an image into the engine and returns its name. */
async function inEngine(layers: Buffer[], more: Partial<MadeImage> = {}): Promise<string> {
  const name = unique('app')
  made.add(name)
  await loadImage(engine, Readable.from([await dockerArchive([{ names: [name], layers, ...more }])]))
  return name
}
async function inFile(content: Buffer, extension = 'tar'): Promise<string> {
  const path = join(folder, `${++count}.${extension}`)
  await writeFile(path, content)
  return path
}
const file = (path: string, content: string | Uint8Array = randomBytes(64)) => tar([{ path, content }])
const node = (options?: NodeOptions) => startNode(engine, cluster, `node-${++count}`, options)
const full = (name: string) => `docker.io/${name}`

describe('an image of the engine', () => {
  test('is linked to where nodes see its store, and runs from its layers', async () => {
    const nodes = await Promise.all([node(), node()])
    const name = await inEngine([busybox, await file('data/greeting', 'hello')])

    const report = await loadImages(engine, nodes, [name])

    expect(report).toMatchObject({
      bytes: 0,
      images: [
        {
          label: name,
          names: [full(name)],
          nodes: { [nodes[0]?.name as string]: 'zero-copy', [nodes[1]?.name as string]: 'zero-copy' },
          summary: `${name}: linked to the engine's own layers`,
        },
      ],
    })
    for (const each of nodes)
      expect(await runImage(engine, each, full(name), 'cat', '/data/greeting')).toBe('hello')
  })

  test('is streamed where they do not, and says why', async () => {
    const apart = await node({ shared: false })
    const name = await inEngine([busybox, await file('data/greeting', 'hello')])

    const { images, bytes } = await loadImages(engine, [apart], [name])

    expect(images[0]?.nodes).toEqual({ [apart.name]: 'loaded' })
    expect(images[0]?.summary).toMatch(
      /streamed, 2\.\d MB \(node "node-\d+" does not see the engine's store\)/,
    )
    expect(bytes).toBeGreaterThan(busybox.length)
    expect(await runImage(engine, apart, full(name), 'cat', '/data/greeting')).toBe('hello')
  })

  test('is not streamed when that is not wanted', async () => {
    const apart = await node({ shared: false })
    await expect(
      loadImages(engine, [apart], [await inEngine([busybox])], { strategy: 'zero-copy' }),
    ).rejects.toThrow(/without a copy: node "node-\d+" does not see the engine's store/)
  })

  test('looks the same to the runtime whichever way it came', async () => {
    const [linked, streamed] = [await node(), await node({ shared: false })]
    const name = await inEngine([busybox, await file('data/greeting')])
    await loadImages(engine, [linked, streamed], [name])

    const listings = await Promise.all([linked, streamed].map((each) => listedImages(engine, each)))
    const [listing = {}] = listings
    expect(listing[full(name)]).toMatch(/^sha256:/)
    expect(listings[0]).toEqual(listings[1])
    const digests = digestsOf(listing, full(name))
    expect(digests[idInEngine()]).toBe((await inspectImage(engine, name)).Id)
    for (const each of [linked, streamed]) {
      const seen = JSON.parse(await execOrThrow(engine, each.containerId, ['crictl', 'inspecti', name]))
      expect(seen.status).toMatchObject({ id: digests.id, repoTags: [full(name)] })
    }
  })

  test('that is there is only asked for, and gets the name that it lacks', async () => {
    const there = await node()
    const name = await inEngine([busybox, await file('data/greeting')])
    const second = unique('alias')
    made.add(second)
    await tagImage(engine, name, second)
    await loadImages(engine, [there], [name])

    const again = await loadImages(engine, [there], [name, second])

    expect(again.images).toMatchObject([
      { label: `${name}, ${second}`, nodes: { [there.name]: 'present' }, bytes: 0 },
    ])
    const listed = await listedImages(engine, there)
    expect(listed[full(second)]).toBe(listed[full(name)])
  })

  test('can be named by its id, and a name moves on to the next build', async () => {
    const there = await node()
    const name = await inEngine([busybox, await file('data/version', 'one')])
    const { Id } = await inspectImage(engine, name)
    await loadImages(engine, [there], [Id.slice(7, 19)])
    expect(await runImage(engine, there, full(name), 'cat', '/data/version')).toBe('one')

    const next = await inEngine([busybox, await file('data/version', 'two')])
    await tagImage(engine, next, name)
    await loadImages(engine, [there], [name])
    expect(await runImage(engine, there, full(name), 'cat', '/data/version')).toBe('two')
  })

  test('that is missing is told with those of nearly its name', async () => {
    const name = await inEngine([busybox])
    await expect(loadImages(engine, [await node()], [name.replace('/app', '/apb')])).rejects.toMatchObject({
      code: 'IMAGE_NOT_FOUND',
      message: expect.stringContaining(`did you mean "${name}"`),
    })
  })

  test('for another architecture is refused before any node is touched', async () => {
    const name = await inEngine([busybox], { architecture: 's390x' })
    await expect(loadImages(engine, [await node()], [name])).rejects.toMatchObject({
      code: 'IMAGE_WRONG_PLATFORM',
      message: expect.stringMatching(/is for linux\/s390x, and the nodes are linux\//),
    })
  })
})

describe("a node that sees the engine's store", () => {
  const mountsIn = async ({ containerId }: ImageNode) =>
    (await execOrThrow(engine, containerId, ['cat', '/proc/self/mountinfo'])).trim().split('\n').length

  test('is copied to and from without its mounts growing', async () => {
    const nodes = await Promise.all([node(), node(), node()])
    const before = await Promise.all(nodes.map(mountsIn))
    for (let round = 0; round < 2; round++) {
      await Promise.all(
        nodes.map(async ({ containerId }) => {
          await putFiles(engine, containerId, [{ path: '/copied', content: 'in' }])
          expect(String(await readFile(engine, containerId, '/copied'))).toBe('in')
        }),
      )
    }
    expect(await Promise.all(nodes.map(mountsIn))).toEqual(before)
  })

  test('cannot write to it, and leaves it as it is when it goes', async () => {
    const [going, staying] = [await node(), await node()]
    const name = await inEngine([busybox, await file('data/greeting', 'hello')])
    await loadImages(engine, [going], [name])
    const touch = ['sh', '-c', 'touch /mayfly/engine-layers/x || touch /mayfly/engine-images/x']
    expect((await exec(engine, going.containerId, touch)).stderr).toMatch(/(Read-only file system.*){2}/s)
    await removeContainer(engine, going.containerId)
    await loadImages(engine, [staying], [name], { strategy: 'zero-copy' })
    expect(await runImage(engine, staying, full(name), 'cat', '/data/greeting')).toBe('hello')
  })

  test('runs its images again after a stop, with nobody there to help it', async () => {
    const there = await node()
    const name = await inEngine([busybox, await file('data/greeting', 'hello')])
    await loadImages(engine, [there], [name])
    await killContainer(engine, there.containerId)
    await restartNode(engine, there)
    expect(await runImage(engine, there, full(name), 'cat', '/data/greeting')).toBe('hello')
  })
})

describe('before there is a node', () => {
  test('what is missing is known already', async () => {
    const name = await inEngine([busybox])
    const build = { build: folder, tag: unique('built') }
    await checkSources(engine, [name, await inFile(await file('a')), build, build.tag])

    const missing = (source: ImageSource) => checkSources(engine, [name, source])
    await expect(missing('no/such-app:1')).rejects.toThrow('has no image "no/such-app:1"')
    await expect(missing(join(folder, 'no.tar'))).rejects.toThrow('there is no file')
    await expect(missing({ archive: 'no-app' })).rejects.toThrow('there is no file')
    await expect(missing({ build: join(folder, 'no'), tag: 'app' })).rejects.toThrow('there is no folder')
  })
})

describe('layers', () => {
  for (const shared of [true, false]) {
    test(`that delete and replace files do so ${shared ? 'in place' : 'after a stream'}`, async () => {
      const there = await node({ shared })
      const name = await inEngine([
        busybox,
        await tar([
          { path: 'data', directory: true },
          { path: 'data/deleted', content: 'x' },
          { path: 'data/kept', content: 'x' },
          { path: 'emptied', directory: true },
          { path: 'emptied/old', content: 'x' },
        ]),
        await tar([
          { path: 'data/.wh.deleted' },
          { path: 'emptied', directory: true },
          { path: 'emptied/.wh..wh..opq' },
          { path: 'emptied/new', content: 'x' },
        ]),
      ])
      await loadImages(engine, [there], [name])
      expect(await runImage(engine, there, full(name), 'ls', '/data', '/emptied')).toBe(
        '/data:\nkept\n\n/emptied:\nnew\n',
      )
    })
  }

  test('that leave out a directory leave it as the layers below made it', async () => {
    const apart = await node({ shared: false })
    const layers = [
      busybox,
      await tar([{ path: 'private', directory: true, mode: 0o700, uid: 1234 }]),
      await tar([{ path: 'private/key', content: 'x' }]),
    ]
    const name = unique('implicit')
    await loadImages(engine, [apart], [await inFile(await dockerArchive([{ names: [name], layers }]))])
    expect(await runImage(engine, apart, full(name), 'stat', '-c', '%a %u', '/private')).toBe('700 1234\n')
  })

  test('that a node has are not sent again, wherever in the image they lie', async () => {
    const apart = await node({ shared: false })
    const big = await file('data/big', randomBytes(4 * mebibyte))
    const [small, other] = [await file('data/small', 'small'), await file('data/other', 'other')]
    const first = await inEngine([busybox, big, small])
    await loadImages(engine, [apart], [first])

    const changedTop = await inEngine([busybox, big, other])
    const top = await loadImages(engine, [apart], [changedTop])
    expect(top.bytes).toBeLessThan(mebibyte)
    expect(await runImage(engine, apart, full(changedTop), 'ls', '/data')).toBe('big\nother\n')

    const changedMiddle = unique('app')
    const archive = await inFile(
      await dockerArchive([{ names: [changedMiddle], layers: [busybox, other, big] }]),
    )
    const middle = await loadImages(engine, [apart], [archive])
    expect(middle.bytes).toBe(0)
    expect(await runImage(engine, apart, full(changedMiddle), 'sha256sum', '/data/big')).toBe(
      await runImage(engine, apart, full(first), 'sha256sum', '/data/big'),
    )
  })
})

describe('nodes that share a volume for layers', () => {
  let layersVolume: string
  const sharing = () => node({ shared: false, layersVolume })

  beforeAll(async () => {
    layersVolume = await createLayersVolume(engine, cluster, { [label.cluster]: cluster })
  })

  test('get a streamed image once, and all run it', async () => {
    const nodes = await Promise.all([sharing(), sharing(), sharing()])
    // Only the first can unpack anything.
    for (const { containerId } of nodes.slice(1)) {
      await execOrThrow(engine, containerId, ['mount', '-o', 'remount,bind,ro', '/mayfly/layers'])
    }
    const content = randomBytes(mebibyte)
    const name = await inEngine([busybox, await file('data/big', content)])
    const { images } = await loadImages(engine, nodes, [name])
    expect(Object.values(images[0]?.nodes ?? {})).toEqual(['loaded', 'loaded', 'loaded'])
    const [first, ...others] = await Promise.all(nodes.map((each) => listedImages(engine, each)))
    for (const listed of others) expect(listed).toEqual(first)
    for (const each of nodes) {
      expect(await runImage(engine, each, full(name), 'sha256sum', '/data/big')).toContain(
        sha256(content).slice(7),
      )
    }
  })

  test('get layers that one of them has from there', async () => {
    const [second, first] = [await sharing(), await sharing()]
    const big = await file('data/big', randomBytes(4 * mebibyte))
    await loadImages(engine, [first], [await inEngine([busybox, big, await file('data/small')])])
    const name = await inEngine([busybox, big, await file('data/other', 'other')])
    const { bytes } = await loadImages(engine, [second, first], [name])
    expect(bytes).toBeLessThan(mebibyte)
    expect(await runImage(engine, second, full(name), 'ls', '/data')).toBe('big\nother\n')
  })

  test('get it by another stream when the one that took the first fails', async () => {
    const [dying, second, third] = [await sharing(), await sharing(), await sharing()]
    const name = await inEngine([busybox, await file('data/big', randomBytes(40 * mebibyte))])
    let killed: Promise<void> | undefined
    const load = loadImages(engine, [dying, second, third], [name], {
      onProgress: (bytes) => {
        if (bytes > 10 * mebibyte) killed ??= killContainer(engine, dying.containerId)
      },
    })
    await expect(load).rejects.toMatchObject({ message: expect.stringContaining(`node "${dying.name}"`) })
    await killed
    for (const each of [second, third]) {
      expect(await runImage(engine, each, full(name), 'ls', '/data')).toBe('big\n')
    }
  })

  test('may each have a part of it that the others do not see', async () => {
    const [apart, other] = [await node({ shared: false }), await sharing()]
    const layers = [busybox, await file('data/greeting', 'hello')]
    const name = await inEngine(layers)
    await loadImages(engine, [apart, other], [name])
    for (const each of [apart, other]) {
      expect(await runImage(engine, each, full(name), 'cat', '/data/greeting')).toBe('hello')
    }
  })

  test('leave nothing there when an image is not what it promises', async () => {
    const there = await sharing()
    const left = async () => execOrThrow(engine, there.containerId, ['ls', '/mayfly/layers'])
    const before = await left()
    const archive = await dockerArchive([
      { names: [unique('good')], layers: [busybox, await file('data/it', 'first')] },
      { names: [unique('forged')], layers: [busybox, await file('data/it', 'good')] },
    ])
    archive.write('evil', archive.indexOf('good'))
    await expect(loadImages(engine, [there], [await inFile(archive)])).rejects.toMatchObject({
      code: 'IMAGE_LOAD_FAILED',
    })
    expect(await left()).toBe(before)
  })
})

describe('an archive', () => {
  test('of docker save, with several images, gzipped', async () => {
    const there = await node()
    const [one, two] = [unique('one'), unique('two')]
    const archive = await dockerArchive([
      { names: [one, `${one}-too`], layers: [busybox, await file('data/it', '1')] },
      { names: [two], layers: [busybox, await file('data/it', '2')] },
    ])
    const { images } = await loadImages(engine, [there], [await inFile(gzipSync(archive), 'tar.gz')])
    expect(images.map(({ names }) => names)).toEqual([[full(one), full(`${one}-too`)], [full(two)]])
    expect(await runImage(engine, there, full(`${one}-too`), 'cat', '/data/it')).toBe('1')
    expect(await runImage(engine, there, full(two), 'cat', '/data/it')).toBe('2')
  })

  test('in OCI layout, for several platforms and attested, keeps its digest', async () => {
    const there = await node()
    const name = unique('multi')
    const archive = await ociArchive([
      { names: [name], layers: [busybox, await file('data/it', 'arm')], architecture: 'arm64' },
      { names: [name], layers: [busybox, await file('data/it', 'amd')], architecture: 'amd64' },
    ])
    // Two manifests under one index: the index names them both.
    await loadImages(engine, [there], [await inFile(archive)])
    expect(await runImage(engine, there, full(name), 'cat', '/data/it')).toBe(engine.arch.slice(0, 3))
    const { [full(name)]: digest } = await listedImages(engine, there)
    expect(archive.includes(`blobs/${digest?.replace(':', '/')}`)).toBe(true)
    const again = await loadImages(engine, [there], [await inFile(archive)])
    expect(again.images[0]?.nodes).toEqual({ [there.name]: 'present' })
  })

  test('without a name is given one', async () => {
    const there = await node()
    const archive = await inFile(await dockerArchive([{ names: [], layers: [busybox] }]))
    await expect(loadImages(engine, [there], [archive])).rejects.toMatchObject({
      code: 'IMAGE_UNREADABLE',
      hint: expect.stringContaining('name:'),
    })
    const name = unique('named')
    await loadImages(engine, [there], [{ archive, name }])
    expect(Object.keys(await listedImages(engine, there))).toContain(full(name))
  })

  test('that is cut off, no archive, or not there is told as such', async () => {
    const there = await node()
    const archive = await dockerArchive([{ names: ['a:1'], layers: [busybox] }])
    const before = await storeOf(engine, there)
    const load = async (path: string) => loadImages(engine, [there], [path])
    const unreadable = (why: RegExp) => ({ code: 'IMAGE_UNREADABLE', message: expect.stringMatching(why) })
    await expect(load(await inFile(archive.subarray(0, mebibyte)))).rejects.toMatchObject(
      unreadable(/end of data/),
    )
    await expect(load(await inFile(randomBytes(2048)))).rejects.toMatchObject(unreadable(/header/))
    await expect(load(await inFile(gzipSync(archive).subarray(0, 5000), 'tgz'))).rejects.toMatchObject(
      unreadable(/unexpected end of file/),
    )
    await expect(load(await inFile(await tar([{ path: 'a', content: 'b' }])))).rejects.toMatchObject(
      unreadable(/neither a manifest.json \(docker save\) nor an index.json/),
    )
    await expect(load('missing.tar')).rejects.toMatchObject(unreadable(/there is no file .*missing.tar/))
    expect(await storeOf(engine, there)).toEqual(before)
  })

  test('whose layers are not what its configuration promises leaves nodes as they were', async () => {
    const there = await node()
    const layer = await file('data/it', 'good')
    const archive = await dockerArchive([{ names: [unique('forged')], layers: [busybox, layer] }])
    const at = archive.indexOf('good')
    archive.write('evil', at)
    const before = await storeOf(engine, there)
    await expect(loadImages(engine, [there], [await inFile(archive)])).rejects.toMatchObject({
      code: 'IMAGE_LOAD_FAILED',
      output: expect.stringContaining(`promises ${sha256(layer)}`),
    })
    expect(await storeOf(engine, there)).toEqual(before)
  })

  test('for another architecture is refused', async () => {
    const archive = await ociArchive([{ names: ['a:1'], layers: [busybox], architecture: 's390x' }])
    await expect(loadImages(engine, [await node()], [await inFile(archive)])).rejects.toMatchObject({
      code: 'IMAGE_WRONG_PLATFORM',
      message: expect.stringContaining('linux/s390x'),
    })
  })
})

describe('a folder', () => {
  test('is built, with its arguments, and loaded', async () => {
    const there = await node()
    const tag = unique('built')
    made.add(tag)
    const context = await mkdtemp(join(folder, 'context-'))
    await writeFile(join(context, 'root.tar'), busybox)
    await writeFile(
      join(context, 'Containerfile'),
      'FROM scratch\nADD root.tar /\nARG GREETING\nENV GREETING=$GREETING\nCMD ["/bin/sh"]\n',
    )
    const source = {
      build: context,
      tag,
      dockerfile: join(context, 'Containerfile'),
      args: { GREETING: 'hello' },
    }
    const { images } = await loadImages(engine, [there], [source])
    expect(images).toMatchObject([{ label: tag, nodes: { [there.name]: 'zero-copy' } }])
    expect(await runImage(engine, there, full(tag), 'sh', '-c', 'cat /proc/self/environ')).toContain(
      'GREETING=hello',
    )
  })

  test('that does not build fails with what the build said', async () => {
    const context = await mkdtemp(join(folder, 'context-'))
    await writeFile(join(context, 'Dockerfile'), 'FROM scratch\nCOPY missing /\n')
    const load = loadImages(engine, [await node()], [{ build: context, tag: unique('broken') }])
    await expect(load).rejects.toMatchObject({
      code: 'IMAGE_BUILD_FAILED',
      output: expect.stringMatching(/COPY.*missing/s),
    })
  })
})

describe('a node of another node image', () => {
  test('gets images through ctr, also under names that the archive lacks', async () => {
    const foreign = await node({ foreign: true })
    const name = await inEngine([busybox, await file('data/greeting', 'hello')])
    const second = unique('alias')
    made.add(second)
    await tagImage(engine, name, second)

    const { images } = await loadImages(engine, [foreign], [name])
    expect(images[0]?.nodes).toEqual({ [foreign.name]: 'loaded' })
    expect(await runImage(engine, foreign, full(name), 'cat', '/data/greeting')).toBe('hello')
    const digests = digestsOf(await listedImages(engine, foreign), full(name))
    expect(digests[idInEngine()]).toBe((await inspectImage(engine, name)).Id)

    const again = await loadImages(engine, [foreign], [name, second])
    expect(again.images[0]?.nodes).toEqual({ [foreign.name]: 'present' })
    expect(Object.keys(await listedImages(engine, foreign))).toContain(full(second))
  })
})

describe('the engine', () => {
  const holdOf = async (name: string) => {
    const { Id } = await inspectImage(engine, name)
    return engine.docker.getContainer(`${cluster}-image-${Id.slice(7, 19)}`)
  }
  const untilHeld = async (name: string) => {
    const hold = await holdOf(name)
    return until(
      `a container of ${name}`,
      async () => {
        const inspected = await hold.inspect()
        return inspected.State.Running ? inspected : undefined
      },
      { timeoutMs: 10_000 },
    )
  }

  test('runs a container of an image once a node links to it, and not before', async () => {
    const there = await node()
    const name = await inEngine([busybox, await file('data/greeting')])
    await loadImages(engine, [there], [name], { strategy: 'stream' })
    const again = await loadImages(engine, [there], [name])
    expect(again.images[0]?.nodes).toEqual({ [there.name]: 'present' })
    await expect((await holdOf(name)).inspect()).rejects.toMatchObject({ statusCode: 404 })
    await loadImages(engine, [await node()], [name])
    const { Config } = await untilHeld(name)
    expect(Config.Labels).toMatchObject({ [label.cluster]: cluster, [label.role]: holdRole })
  })

  test('starts no health check, and makes no volume, of a held image', async () => {
    const there = await node()
    const name = await inEngine([busybox], {
      config: {
        User: 'nobody-knows',
        Healthcheck: { Test: ['CMD', '/missing'], Interval: 1e9 },
        Volumes: { '/data': {} },
        Entrypoint: ['/missing'],
      },
    })
    const { images } = await loadImages(engine, [there], [name])
    expect(images[0]?.summary).toBe(`${name}: linked to the engine's own layers`)
    const { State, Mounts } = await untilHeld(name)
    // Podman says so with an empty status.
    expect(State.Health?.Status ?? '').toBe('')
    expect(Mounts.filter(({ Type }) => Type === 'volume')).toEqual([])
  })
})

describe('when something breaks', () => {
  const failing = async (broken: ImageNode, why: RegExp, load: Promise<unknown>) =>
    expect(load).rejects.toMatchObject({
      code: 'IMAGE_LOAD_FAILED',
      message: expect.stringMatching(new RegExp(`node "${broken.name}".*${why.source}`, 's')),
    })

  test('a full disk is told with its size, the store is as it was, and the other node has the image', async () => {
    const [small, good] = [await node({ shared: false, disk: '64m' }), await node({ shared: false })]
    const name = await inEngine([busybox, await file('data/big', randomBytes(80 * mebibyte))])
    const before = await storeOf(engine, small)
    await failing(
      small,
      /no space left on device.*\/var\/lib\/containerd has 64 MiB in all, 0 MiB free/,
      loadImages(engine, [small, good], [name]),
    )
    expect(await storeOf(engine, small)).toEqual(before)
    expect(Object.keys(await listedImages(engine, good))).toContain(full(name))
  })

  test('a node that dies on the way does not keep the others from it', async () => {
    const [dying, good] = [await node({ shared: false }), await node({ shared: false })]
    const name = await inEngine([busybox, await file('data/big', randomBytes(150 * mebibyte))])
    let killed: Promise<void> | undefined
    await failing(
      dying,
      /./,
      loadImages(engine, [dying, good], [name], {
        onProgress: (bytes) => {
          if (bytes > 10 * mebibyte) killed ??= killContainer(engine, dying.containerId)
        },
      }),
    )
    await killed
    expect(await runImage(engine, good, full(name), 'ls', '/data')).toBe('big\n')
  })

  test('nodes that do not run are named, all of them', async () => {
    const [stopped, paused, good] = [await node(), await node(), await node()]
    await killContainer(engine, stopped.containerId)
    await pauseContainer(engine, paused.containerId)
    const name = await inEngine([busybox])
    const load = loadImages(engine, [stopped, paused, good, { name: 'gone', containerId: 'gone' }], [name])
    await expect(load).rejects.toMatchObject({
      message: expect.stringMatching(/3 of 4 nodes.*container is exited.*container is paused.*is gone/s),
    })
    expect(Object.keys(await listedImages(engine, good))).toContain(full(name))
  })

  test('an abort leaves every node as it was', async () => {
    const nodes = [await node({ shared: false }), await node({ shared: false, foreign: true })]
    const name = await inEngine([busybox, await file('data/big', randomBytes(150 * mebibyte))])
    const before = await Promise.all(nodes.map((each) => storeOf(engine, each)))
    const abort = new AbortController()
    const load = loadImages(engine, nodes, [name], {
      signal: abort.signal,
      onProgress: (bytes) => bytes > 10 * mebibyte && abort.abort(new Error('enough')),
    })
    await expect(load).rejects.toThrow()
    expect(await Promise.all(nodes.map((each) => storeOf(engine, each)))).toEqual(before)
  })
})

/** Peak memory, in MiB, of a process that does nothing but stream an image into a node. */
async function peakMemory({ containerId }: ImageNode, image: string): Promise<number> {
  const script = join(import.meta.dirname, 'peak-memory.ts')
  return Number((await execa(process.execPath, [script, containerId, image])).stdout)
}

test('a stream of any size passes through little memory', async () => {
  const there = await node({ shared: false })
  const peakOf = async (megabytes: number) =>
    peakMemory(there, await inEngine([busybox, await file('data/big', randomBytes(megabytes * mebibyte))]))
  const [small, big] = [await peakOf(10), await peakOf(320)]
  expect(big).toBeLessThan(150)
  expect(big - small).toBeLessThan(40)
})

describe('a node that was asked before', () => {
  test('answers again after it was restarted, and after its container runtime was', async () => {
    const there = await node()
    const name = await inEngine([busybox, await file('data/greeting')])
    await loadImages(engine, [there], [name])

    await execOrThrow(engine, there.containerId, ['systemctl', 'restart', 'containerd'])
    const afterRuntime = await loadImages(engine, [there], [name])
    await killContainer(engine, there.containerId)
    await restartNode(engine, there)
    const afterNode = await loadImages(engine, [there], [name])

    const present = [{ nodes: { [there.name]: 'present' } }]
    expect([afterRuntime.images, afterNode.images]).toMatchObject([present, present])
  })

  test('runs no program any more for a process that has ended', async () => {
    const there = await node()
    await peakMemory(there, await inEngine([busybox]))
    await until(
      'the end of the program',
      async () => {
        const script = 'cat /proc/[0-9]*/cmdline | tr "\\0" " " | grep "[i]mages-serve"'
        const { exitCode } = await exec(engine, there.containerId, ['sh', '-c', script])
        return exitCode === 1 ? true : undefined
      },
      { timeoutMs: 10_000 },
    )
  })
})
