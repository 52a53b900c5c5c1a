import { createWriteStream } from 'node:fs'
import { access, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { execa } from 'execa'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import {
  connectEngine,
  createVolume,
  type Engine,
  execOrThrow,
  removeImage,
  saveImages,
  tagImage,
} from '../../src/engine/index.ts'
import { connectKube, list } from '../../src/kube/index.ts'
import { label, listBelongings, ownership } from '../../src/reaper/index.ts'
import { until } from '../../src/wait.ts'
import { ensureTinyImage, tinyImage } from '../engine/tiny-image.ts'

const program = resolve('src/cli/main.ts')
const name = `cli-${process.pid}`
let engine: Engine
let dir: string

/** Runs `mayfly` as its users do, in a folder of its own. */
const mayfly = (...args: string[]) => execa(process.execPath, [program, ...args], { cwd: dir, reject: false })

const belongings = async (cluster: string) => {
  const { containers, networks, volumes } = await listBelongings(engine, { [label.cluster]: cluster })
  return [...containers, ...networks, ...volumes].map((thing) => thing.name)
}

beforeAll(async () => {
  engine = await connectEngine()
  dir = await mkdtemp(join(tmpdir(), 'mayfly-test-'))
})
afterAll(async () => {
  await mayfly('delete', 'cluster', '--name', name)
  await rm(dir, { recursive: true })
})

describe('a cluster of the command line', () => {
  const kubeconfig = () => join(dir, 'config')

  test('create cluster: it outlives the command, and is added to the kubeconfig that is named', async () => {
    const { exitCode, stdout, stderr } = await mayfly(
      'create', 'cluster', '--name', name, '--nodes', '2', '--kubeconfig', kubeconfig(), '--wait', '4m',
    ) // biome-ignore format: a command line
    expect(exitCode, stderr).toBe(0)
    expect(stdout).toBe('')
    expect(stderr).toContain('✓ Wait until the cluster is usable')
    const text = await readFile(kubeconfig(), 'utf8')
    expect(parse(text)['current-context']).toBe(`mayfly-${name}`)
    using kube = connectKube(text)
    const nodes = await list(kube, { apiVersion: 'v1', kind: 'Node' })
    expect(nodes.map(({ metadata }) => metadata.name)).toEqual([`${name}-control-plane`, `${name}-worker`])
  })

  test('create cluster: a name that is taken is refused, and the cluster of that name stays', async () => {
    const { exitCode, stderr } = await mayfly('create', 'cluster', '--name', name)
    expect(exitCode).toBe(1)
    expect(stderr).toContain(`There is a cluster named "${name}" already`)
    expect(await belongings(name)).toContain(`${name}-worker`)
  })

  test('get clusters and get nodes: names, one a line', async () => {
    expect((await mayfly('get', 'clusters')).stdout.split('\n')).toContain(name)
    const [cluster] = JSON.parse((await mayfly('get', 'clusters', '--json')).stdout).filter(
      (one: { name: string }) => one.name === name,
    )
    expect(cluster).toMatchObject({ status: 'ready', kept: true, expires: 'never' })
    expect((await mayfly('get', 'nodes', '--name', name)).stdout).toBe(
      `${name}-control-plane\n${name}-worker`,
    )
    const { exitCode, stderr } = await mayfly('get', 'nodes', '--name', 'no-such')
    expect(exitCode).toBe(1)
    expect(stderr).toContain('There is no cluster "no-such"')
  })

  test('get kubeconfig: for this host, or for the cluster’s own network', async () => {
    const { stdout } = await mayfly('get', 'kubeconfig', '--name', name)
    using kube = connectKube(stdout)
    expect(await kube.request('GET', '/readyz')).toBe('ok')
    const internal = parse((await mayfly('get', 'kubeconfig', '--name', name, '--internal')).stdout)
    expect(internal.clusters[0].cluster.server).toMatch(/^https:\/\/172\.\d+\.\d+\.\d+:6443$/)
  })

  test('load docker-image and image-archive: the image is on the nodes that were named', async () => {
    const reference = `mayfly-test/cli:${process.pid}`
    await ensureTinyImage(engine)
    await tagImage(engine, tinyImage, reference)
    const { exitCode, stderr } = await mayfly(
      'load', 'docker-image', reference, '--name', name, '--nodes', `${name}-worker`,
    ) // biome-ignore format: a command line
    expect(exitCode, stderr).toBe(0)
    const archive = join(dir, 'image.tar')
    await pipeline(await saveImages(engine, [reference]), createWriteStream(archive))
    const images = (node: string) => execOrThrow(engine, node, ['crictl', 'images'])
    expect(await images(`${name}-worker`)).toContain('mayfly-test/cli')
    expect(await images(`${name}-control-plane`)).not.toContain('mayfly-test/cli')

    const loaded = await mayfly('load', 'image-archive', archive, '--name', name)
    expect(loaded.exitCode, loaded.stderr).toBe(0)
    expect(await images(`${name}-control-plane`)).toContain('mayfly-test/cli')
    await removeImage(engine, reference)
  })

  test('export logs: prints the folder that they are in', async () => {
    const { exitCode, stdout } = await mayfly('export', 'logs', 'logs', '--name', name)
    expect(exitCode).toBe(0)
    expect(stdout).toBe(join(dir, 'logs'))
    await access(join(dir, 'logs', `${name}-worker`, 'kubelet.log'))
    await access(join(dir, 'logs', 'objects', 'kube-system', 'pods.yaml'))
  })

  test('delete cluster: nothing of it is left, neither in the engine nor in the kubeconfig', async () => {
    const { exitCode } = await mayfly('delete', 'cluster', '--name', name, '--kubeconfig', kubeconfig())
    expect(exitCode).toBe(0)
    expect(await belongings(name)).toEqual([])
    expect(parse(await readFile(kubeconfig(), 'utf8')).contexts).toEqual([])
    expect((await mayfly('delete', 'cluster', '--name', name)).exitCode).toBe(0)
  })
})

test('an interrupted creation leaves nothing', async () => {
  const cluster = `${name}-interrupted`
  const creation = mayfly('create', 'cluster', '--name', cluster)
  await until('a node', async () => (await belongings(cluster)).length > 1 || undefined, {
    timeoutMs: 60_000,
  })
  creation.kill('SIGINT')
  const { exitCode } = await creation
  expect(exitCode).toBe(1)
  expect(await belongings(cluster)).toEqual([])
})

test('clean: what has expired goes, what is kept stays', async () => {
  const [expired, kept] = [`${name}-expired`, `${name}-kept`]
  await createVolume(engine, { name: expired, labels: ownership(expired, { keep: true, ttlMs: -1 }) })
  await createVolume(engine, { name: kept, labels: ownership(kept, { keep: true }) })
  // What it prints depends on who was first: any other run on this engine sweeps as well.
  expect((await mayfly('clean')).exitCode).toBe(0)
  expect(await belongings(expired)).toEqual([])
  expect(await belongings(kept)).toEqual([kept])
  expect((await mayfly('delete', 'clusters', kept)).exitCode).toBe(0)
  expect(await belongings(kept)).toEqual([])
})

test('mistakes are told with what is allowed', async () => {
  expect((await mayfly('create', 'cluster', '--nodes', 'master')).stderr).toContain(
    'Give a number, or a list',
  )
  expect((await mayfly('create', 'cluster', '--wait', 'long')).stderr).toContain('Give a duration such as')
  expect((await mayfly('delete', 'clusters')).stderr).toContain('or give --all')
  expect((await mayfly('create', 'cluster', '--name', 'No!')).stderr).toMatch(/^Error: .*name/s)
})
