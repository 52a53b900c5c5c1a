import { randomBytes, randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { lookAtHost } from '../../src/engine/host-facts.ts'
import {
  type ContainerSpec,
  connectEngine,
  containerLogs,
  createContainer,
  createNetwork,
  createVolume,
  type Engine,
  engineStatus,
  ensureNetwork,
  exec,
  execOrThrow,
  execStream,
  followLogs,
  imageExists,
  inspectContainer,
  inspectImage,
  killContainer,
  listContainers,
  listNetworks,
  listVolumes,
  loadImage,
  pauseContainer,
  preflight,
  probePrivilege,
  publishedPort,
  putFiles,
  randomUlaSubnet,
  readFile,
  removeContainer,
  removeImage,
  removeNetwork,
  removeVolume,
  restartContainer,
  saveImages,
  startContainer,
  stopContainer,
  tagImage,
  unpauseContainer,
  updateContainer,
  waitForExit,
} from '../../src/engine/index.ts'
import { until } from '../../src/wait.ts'
import { ensureTinyImage, tinyImage } from './tiny-image.ts'

const run = `mayfly-test-${randomUUID().slice(0, 8)}`
const labels = { 'io.mayfly.test': run }
const mebibyte = 2 ** 20
let engine: Engine
let cache: string

beforeAll(async () => {
  engine = await connectEngine()
  await ensureTinyImage(engine)
  cache = await mkdtemp(join(tmpdir(), 'cache-'))
})
afterAll(async () => {
  for (const { id } of await listContainers(engine, labels)) await removeContainer(engine, id)
  for (const { id } of await listNetworks(engine, labels)) await removeNetwork(engine, id)
  for (const { id } of await listVolumes(engine, labels)) await removeVolume(engine, id)
  await rm(cache, { recursive: true })
})

let made = 0
async function create(spec: Partial<ContainerSpec> = {}): Promise<string> {
  const name = `${run}-${++made}`
  await createContainer(engine, { name, image: tinyImage, labels, ...spec })
  return name
}
async function start(spec: Partial<ContainerSpec> = {}): Promise<string> {
  const name = await create(spec)
  await startContainer(engine, name)
  return name
}
/** What an engine says, each in its own words. */
const inWordsOf = ({ docker, podman }: { docker: RegExp; podman: RegExp }) =>
  engine.kind === 'docker' ? docker : podman

const failureOf = async (promise: Promise<unknown>) =>
  (await promise.catch((thrown: unknown) => thrown)) as Error

describe('containers', () => {
  test('live: created, started, paused, stopped, restarted, removed', async () => {
    const name = await create()
    const state = async () => (await listContainers(engine, labels)).find((one) => one.name === name)?.state
    expect(await state()).toBe('created')
    await startContainer(engine, name)
    await startContainer(engine, name)
    expect(await state()).toBe('running')
    await pauseContainer(engine, name)
    expect(await state()).toBe('paused')
    await unpauseContainer(engine, name)
    await restartContainer(engine, name, { graceSeconds: 0 })
    expect(await state()).toBe('running')
    await stopContainer(engine, name, { graceSeconds: 0 })
    await stopContainer(engine, name)
    expect(await state()).toBe('exited')
    expect(await removeContainer(engine, name)).toBe(true)
    expect(await removeContainer(engine, name)).toBe(false)
  })

  test('are removed with their anonymous volumes, which have their labels, also by several at once', async () => {
    const name = await start({ volumes: ['/data'] })
    const [mount] = (await inspectContainer(engine, name)).Mounts
    // Podman drops the labels of a volume without a name.
    const told = engine.kind === 'docker' ? labels : {}
    expect(await listVolumes(engine, told)).toContainEqual(expect.objectContaining({ name: mount?.Name }))
    await Promise.all([1, 2, 3, 4].map(() => removeContainer(engine, name)))
    await expect(inspectContainer(engine, name)).rejects.toThrow(
      inWordsOf({ docker: /No such container/, podman: /no such container/ }),
    )
    expect((await listVolumes(engine, {})).map((volume) => volume.name)).not.toContain(mount?.Name)
  })

  test('publish ports of the engine’s choice on the loopback address', async () => {
    const inspected = await inspectContainer(engine, await start({ ports: [{ containerPort: 6443 }] }))
    expect(publishedPort(inspected, 6443)).toBeGreaterThan(1024)
    expect(inspected.NetworkSettings.Ports['6443/tcp']?.[0]?.HostIp).toBe('127.0.0.1')
    expect(publishedPort(inspected, 80)).toBeUndefined()
  })

  test('have the limits they were given, and new ones while they run', async ({ skip }) => {
    skip(engine.kind === 'podman', "Podman's Docker API changes no limits")
    const name = await start({ cpus: 0.5, memoryBytes: 64 * mebibyte })
    await updateContainer(engine, name, { cpus: 1.5, memoryBytes: 128 * mebibyte })
    expect((await inspectContainer(engine, name)).HostConfig).toMatchObject({
      NanoCpus: 1_500_000_000,
      Memory: 128 * mebibyte,
      MemorySwap: 128 * mebibyte,
    })
  })

  test('see the host’s directories, volumes and memory file systems', async () => {
    await createVolume(engine, { name: `${run}-volume`, labels })
    const name = await start({
      mounts: [
        { type: 'bind', source: '/etc', target: '/host-etc', readOnly: true, propagation: 'rprivate' },
        { type: 'volume', source: `${run}-volume`, target: '/kept' },
      ],
      tmpfs: { '/quick': 'exec,size=1m' },
    })
    const mounts = await execOrThrow(engine, name, ['mount'])
    expect(mounts).toMatch(/ on \/host-etc .*\(ro/)
    expect(mounts).toMatch(/ on \/kept /)
    expect(mounts).toMatch(/tmpfs on \/quick .*size=1024k/)
    expect(engineStatus(await failureOf(removeVolume(engine, `${run}-volume`)))).toBe(409)
    await removeContainer(engine, name)
    expect(await removeVolume(engine, `${run}-volume`)).toBe(true)
    expect(await removeVolume(engine, `${run}-volume`)).toBe(false)
  })

  test('do without a directory that the host lacks, where they may', async ({ skip }) => {
    skip(engine.kind === 'podman', 'Podman makes the directory')
    const absent = { type: 'bind', source: `/nowhere/${run}`, target: '/absent' } as const
    const etc = { type: 'bind', source: '/etc', target: '/host-etc', optional: true } as const
    const name = await start({ mounts: [{ ...absent, optional: true }, etc] })
    const mounts = await execOrThrow(engine, name, ['mount'])
    expect(mounts).toMatch(/ on \/host-etc /)
    expect(mounts).not.toMatch(/ on \/absent /)
    expect(await failureOf(create({ mounts: [absent, etc] }))).toMatchObject({ code: 'ENGINE_REFUSED' })
  })

  test('tell how they ended', async () => {
    const name = await start({ command: ['sh', '-c', 'echo out; echo err >&2; exit 3'] })
    expect(await waitForExit(engine, name)).toBe(3)
    expect((await containerLogs(engine, name)).split('\n').sort()).toEqual(['', 'err', 'out'])
    expect(await containerLogs(engine, name, { tail: 1 })).toMatch(/^(out|err)\n$/)
    const killed = await start()
    await killContainer(engine, killed)
    expect(await waitForExit(engine, killed)).toBe(137)
  })

  test.each([true, false])('have a log that can be followed (terminal: %s)', async (tty) => {
    const name = await start({ tty, command: ['sh', '-c', 'for i in 1 2 3; do echo $i; done; sleep 100'] })
    const log = await followLogs(engine, name)
    let seen = ''
    for await (const chunk of log) {
      seen += chunk
      if (seen.includes('3')) break
    }
    expect(seen.split(/\r?\n/)).toEqual(['1', '2', '3', ''])
  })

  test('refused requests say what was asked and what the engine said', async () => {
    const name = await create()
    expect(await failureOf(createContainer(engine, { name, image: tinyImage }))).toMatchObject({
      code: 'ENGINE_REFUSED',
      message: expect.stringMatching(
        inWordsOf({
          docker: /refused to create container ".*": Conflict\. .* \(HTTP 409\)$/,
          podman: /refused to create container ".*": .* name is already in use \(HTTP 500\)$/,
        }),
      ),
    })
    expect(engineStatus(await failureOf(createContainer(engine, { name, image: tinyImage })))).toBe(409)
    const missing = await failureOf(
      createContainer(engine, { name: `${run}-x`, image: 'mayfly-test/none:1' }),
    )
    expect(missing.message).toMatch(
      inWordsOf({
        docker: /No such image: mayfly-test\/none:1 \(HTTP 404\)$/,
        podman: /no such image: docker\.io\/mayfly-test\/none:1: image not known \(HTTP 404\)$/,
      }),
    )
    expect(engineStatus(missing)).toBe(404)
  })

  test('an engine that is gone is told from one that refuses', async () => {
    const gone = await connectEngine()
    Object.assign((gone.docker as unknown as { modem: object }).modem, {
      socketPath: '/none.sock',
      socketPathCache: undefined,
    })
    expect(await failureOf(listContainers(gone, labels))).toMatchObject({ code: 'ENGINE_LOST' })
  })
})

describe('files', () => {
  test('are put with mode and owner before the first start, and read back', async () => {
    const name = await create()
    const bytes = randomBytes(3 * mebibyte)
    await putFiles(engine, name, [
      { path: '/etc/kubernetes/pki/ca.key', content: 'secret', mode: 0o600, uid: 7, gid: 8 },
      { path: '/var/lib/big', content: bytes },
      { path: '/etc/link', linkTo: 'kubernetes/pki/ca.key' },
      { path: '/etc/empty', directory: true, mode: 0o700 },
    ])
    expect(await readFile(engine, name, '/var/lib/big')).toEqual(bytes)
    expect(String(await readFile(engine, name, '/etc/link'))).toBe('secret')
    expect(await readFile(engine, name, '/etc/none')).toBeUndefined()
    expect(await failureOf(readFile(engine, name, '/etc/empty'))).toMatchObject({ code: 'ENGINE_REFUSED' })
    await startContainer(engine, name)
    const listed = await execOrThrow(engine, name, [
      ...['stat', '-c', '%a %u:%g %n'],
      ...['/etc/kubernetes', '/etc/kubernetes/pki/ca.key', '/etc/empty'],
    ])
    expect(listed.trim().split('\n')).toEqual([
      '755 0:0 /etc/kubernetes',
      '600 7:8 /etc/kubernetes/pki/ca.key',
      '700 0:0 /etc/empty',
    ])
  })

  test('put before the start stay in anonymous volumes beside the image’s own, and are lost in a tmpfs', async () => {
    const name = await create({ volumes: ['/data', '/new'], tmpfs: { '/tmp': '' } })
    await putFiles(engine, name, [
      { path: '/data/put', content: '' },
      { path: '/new/deep/put', content: '' },
      { path: '/tmp/put', content: '' },
    ])
    await startContainer(engine, name)
    expect(await execOrThrow(engine, name, ['ls', '/data', '/new/deep'])).toBe(
      '/data:\nfrom-image\nput\n\n/new/deep:\nput\n',
    )
    // Podman keeps it.
    const kept = engine.kind === 'podman' ? 'put\n' : ''
    expect(await execOrThrow(engine, name, ['ls', '/tmp'])).toBe(kept)
  })
})

describe('exec', () => {
  let name: string
  beforeAll(async () => {
    name = await start()
  })

  test('gives input, keeps both outputs apart and tells the exit code', async () => {
    const script = 'cat; echo "$A" >&2; exit 3'
    expect(await exec(engine, name, ['sh', '-c', script], { stdin: 'in', env: { A: 'b' } })).toEqual({
      exitCode: 3,
      stdout: 'in',
      stderr: 'b\n',
    })
    expect(await exec(engine, name, ['cat'])).toEqual({ exitCode: 0, stdout: '', stderr: '' })
    expect(await execOrThrow(engine, name, ['id', '-u'], { user: '1234' })).toBe('1234\n')
  })

  test('a failed command’s error carries what it printed', async () => {
    const error = await failureOf(execOrThrow(engine, name, ['sh', '-c', 'echo oh no >&2; exit 4']))
    expect(error).toMatchObject({ code: 'EXEC_FAILED', output: 'oh no\n' })
    expect(error.message.replace(name, 'NAME')).toMatchInlineSnapshot(`
      "\`sh -c echo oh no >&2; exit 4\` failed in "NAME" with exit code 4
          oh no"
    `)
    expect((await failureOf(execOrThrow(engine, name, ['nope']))).message).toContain(
      'executable file not found',
    )
  })

  test('200 MB of input go through in little memory', async () => {
    const chunk = randomBytes(mebibyte)
    let produced = 0
    let peak = 0
    const base = process.memoryUsage.rss()
    const source = Readable.from(
      (function* () {
        for (; produced < 200; produced++) {
          peak = Math.max(peak, process.memoryUsage.rss())
          yield chunk
        }
      })(),
      { objectMode: false, highWaterMark: mebibyte },
    )
    expect(await execOrThrow(engine, name, ['wc', '-c'], { stdin: source })).toBe(`${200 * mebibyte}\n`)
    expect((peak - base) / mebibyte).toBeLessThan(100)
  })

  test('input is held back while the command does not read', async () => {
    let produced = 0
    const source = Readable.from(
      (function* () {
        for (; produced < 200; produced++) yield Buffer.alloc(mebibyte)
      })(),
      { objectMode: false },
    )
    const abort = new AbortController()
    const running = await execStream(engine, name, ['sh', '-c', 'echo up; sleep 1000'], {
      signal: abort.signal,
    })
    source.pipe(running.stdin)
    for await (const chunk of running.stdout.iterator({ destroyOnReturn: false })) {
      expect(String(chunk)).toBe('up\n')
      break
    }
    let before = -1
    await until(
      'the input to stand still',
      async () => {
        const still = produced === before
        before = produced
        return still || undefined
      },
      { timeoutMs: 20_000, intervalMs: 1000 },
    )
    expect(produced).toBeLessThan(20)
    abort.abort()
    await expect(running.exited).rejects.toMatchObject({ code: 'WAIT_ABORTED' })
  })

  test('200 MB of output come as fast as they are read, and whole', async () => {
    const running = await execStream(engine, name, ['head', '-c', String(200 * mebibyte), '/dev/zero'])
    running.stdin.end()
    running.stderr.resume()
    const base = process.memoryUsage.rss()
    let received = 0
    let peak = 0
    for await (const chunk of running.stdout) {
      if (received === 0)
        await until('a while', async () => undefined, { timeoutMs: 1000 }).catch(() => undefined)
      received += (chunk as Buffer).length
      peak = Math.max(peak, process.memoryUsage.rss())
    }
    expect(await running.exited).toBe(0)
    expect(received).toBe(200 * mebibyte)
    expect((peak - base) / mebibyte).toBeLessThan(150)
  })

  test('a command that does not read its input is no failure', async () => {
    expect(
      await exec(engine, name, ['sh', '-c', 'echo done'], { stdin: Buffer.alloc(20 * mebibyte) }),
    ).toEqual({
      exitCode: 0,
      stdout: 'done\n',
      // Podman adds its own complaint.
      stderr:
        engine.kind === 'podman' ? expect.stringMatching(/^(Error: .*connection reset by peer\n)?$/) : '',
    })
  })

  test('an input that breaks is one', async () => {
    const source = Readable.from(
      (function* () {
        yield Buffer.from('half')
        throw new Error('the disk is gone')
      })(),
    )
    await expect(exec(engine, name, ['cat'], { stdin: source })).rejects.toThrow('the disk is gone')
  })

  test('ends waiting when it is aborted, or at its deadline, and says so', async () => {
    const abort = new AbortController()
    const running = exec(engine, name, ['sh', '-c', 'sleep 1000'], { signal: abort.signal })
    setTimeout(() => abort.abort(), 300)
    expect(await failureOf(running)).toMatchObject({ code: 'WAIT_ABORTED' })
    const late = await failureOf(exec(engine, name, ['sleep', '1000'], { timeoutMs: 300 }))
    expect(late).toMatchObject({ code: 'WAIT_TIMED_OUT' })
    expect(late.message).toContain('Waited 0.3 s for `sleep 1000`')
    expect(await failureOf(exec(engine, name, ['true'], { signal: AbortSignal.abort() }))).toMatchObject({
      code: 'WAIT_ABORTED',
    })
  })

  test('a container that dies under a command ends it', async () => {
    const victim = await start()
    const running = exec(engine, victim, ['sleep', '1000'])
    setTimeout(() => void removeContainer(engine, victim), 300)
    const outcome = await running.catch((thrown: unknown) => thrown)
    const { exitCode, code } = outcome as { exitCode?: number; code?: string }
    expect(exitCode === 137 || code?.startsWith('ENGINE_')).toBe(true)
  })

  test('a container that does not run says so', async () => {
    expect(engineStatus(await failureOf(exec(engine, await create(), ['true'])))).toBe(409)
    expect(engineStatus(await failureOf(exec(engine, 'no-such-container', ['true'])))).toBe(404)
  })
})

describe('networks', () => {
  test('let containers find each other by name and by alias', async () => {
    const network = await createNetwork(engine, { name: `${run}-dns`, labels })
    expect(network.subnets[0]?.subnet).toMatch(/^\d+\.\d+\.\d+\.\d+\/\d+$/)
    const server = await start({ network: network.name, aliases: ['control-plane'] })
    const client = await start({ network: network.name })
    const resolvers = await execOrThrow(engine, client, ['cat', '/etc/resolv.conf'])
    const nameServer = /^nameserver (\S+)/m.exec(resolvers)?.[1] ?? ''
    const lookUp = (host: string) => execOrThrow(engine, client, ['nslookup', host, nameServer])
    const address = (await inspectContainer(engine, server)).NetworkSettings.Networks[network.name]?.IPAddress
    expect(await lookUp(server)).toContain(`Address: ${address}`)
    expect(await lookUp('control-plane')).toContain(`Address: ${address}`)
  })

  test('take a subnet and fixed addresses, IPv6 as well', async () => {
    const ipv6Subnet = randomUlaSubnet()
    const network = await createNetwork(engine, { name: `${run}-v6`, labels, ipv6Subnet })
    expect(network.subnets.map(({ subnet }) => subnet.includes(':'))).toEqual([false, true])
    const ipv6 = ipv6Subnet.replace('::/64', '::42')
    const name = await start({ network: network.name, ipv6 })
    expect(
      (await inspectContainer(engine, name)).NetworkSettings.Networks[network.name]?.GlobalIPv6Address,
    ).toBe(ipv6)
  })

  test('two never share an IPv4 subnet', async () => {
    const networks = await Promise.all(
      [1, 2, 3].map((n) => createNetwork(engine, { name: `${run}-many-${n}`, labels })),
    )
    expect(new Set(networks.map(({ subnets }) => subnets[0]?.subnet)).size).toBe(3)
  })

  test('a taken name is refused; "ensure" takes what is there', async () => {
    const spec = { name: `${run}-one`, labels }
    const networks = await Promise.all([1, 2, 3, 4].map(() => ensureNetwork(engine, spec)))
    expect(new Set(networks.map(({ id }) => id)).size).toBe(1)
    expect(engineStatus(await failureOf(createNetwork(engine, spec)))).toBe(409)
  })

  test('of several that are made with one name at once, one comes to be', async () => {
    const name = `${run}-race`
    const outcomes = await Promise.all(
      [1, 2, 3, 4].map(() => createNetwork(engine, { name, labels }).catch(engineStatus)),
    )
    expect(outcomes.filter((outcome) => outcome === 409)).toHaveLength(3)
    expect((await listNetworks(engine, labels)).filter((network) => network.name === name)).toHaveLength(1)
  })

  test('are removed from under containers that are still on them', async () => {
    const network = await createNetwork(engine, { name: `${run}-busy`, labels })
    const name = await start({ network: network.name })
    expect(await removeNetwork(engine, network.name)).toBe(true)
    expect(await removeNetwork(engine, network.name)).toBe(false)
    expect((await inspectContainer(engine, name)).State.Running).toBe(true)
  })
})

describe('images', () => {
  test('go out and in as archives, get names and lose them', async () => {
    const copy = `localhost:1/mayfly-test/${run}:2`
    await tagImage(engine, tinyImage, copy)
    expect((await inspectImage(engine, copy)).Id).toBe((await inspectImage(engine, tinyImage)).Id)
    const chunks: Buffer[] = []
    for await (const chunk of await saveImages(engine, [copy], { platform: `linux/${engine.arch}` }))
      chunks.push(chunk)
    expect(await removeImage(engine, copy)).toBe(true)
    expect(await imageExists(engine, copy)).toBe(false)
    expect(await loadImage(engine, Readable.from(chunks))).toEqual([copy])
    expect(await imageExists(engine, copy)).toBe(true)
    await removeImage(engine, copy)
  })

  test('an archive that is none is refused', async () => {
    expect(await failureOf(loadImage(engine, Readable.from([Buffer.from('nonsense')])))).toMatchObject({
      code: 'IMAGE_UNREADABLE',
    })
    expect(engineStatus(await failureOf(saveImages(engine, ['mayfly-test/none:1'])))).toBeGreaterThanOrEqual(
      404,
    )
  })
})

describe('privilege', () => {
  test('all that the host has is given, and nothing that it lacks', async () => {
    const privilege = await probePrivilege(engine, tinyImage, { cacheFile: join(cache, 'privilege.json') })
    const name = await start({ privilege, privateCgroupNamespace: true })
    const status = await execOrThrow(engine, name, ['cat', '/proc/1/status'])
    expect(status).toMatch(/^Seccomp:\t0$/m)
    // What it was told to be missing is missing, and CAP_SYS_ADMIN (bit 21) is there.
    const bounding = BigInt(`0x${/^CapBnd:\t(\w+)$/m.exec(status)?.[1]}`)
    expect((bounding >> 21n) & 1n).toBe(1n)
    // A privileged container has whatever its host has.
    if (engine.kind === 'docker')
      expect((bounding >> 24n) & 1n).toBe(privilege.missing.includes('CAP_SYS_RESOURCE') ? 0n : 1n)
    // Nothing of /proc is masked or read-only: each would be a mount of its own.
    expect(await execOrThrow(engine, name, ['mount'])).not.toMatch(/ on \/proc\/(sys|kcore|irq) /)
    // mount(2) needs CAP_SYS_ADMIN and no AppArmor profile in its way.
    await execOrThrow(engine, name, ['mount', '-t', 'tmpfs', 'none', '/tmp'])
  })

  test('a daemon that can’t be looked at gives the same answer, by trial', async () => {
    const seen = await probePrivilege(engine, tinyImage, { cacheFile: false })
    // Docker 29 gives all capabilities less those that it lacks itself, and does not tell which.
    const missing = seen.capDrop.length > 0 ? seen.missing : []
    expect(await probePrivilege({ ...engine, local: false }, tinyImage, { cacheFile: false })).toEqual({
      ...seen,
      missing,
    })
  })

  test('the answer is remembered, and no probe is left over', async () => {
    const cacheFile = join(cache, 'remembered.json')
    const first = await probePrivilege(engine, tinyImage, { cacheFile, labels })
    // An image that does not exist shows that no container is made the second time.
    expect(await probePrivilege(engine, 'mayfly-test/none:1', { cacheFile })).toEqual(first)
    await expect(probePrivilege(engine, 'mayfly-test/none:1', { cacheFile, fresh: true })).rejects.toThrow(
      inWordsOf({ docker: /No such image/, podman: /no such image/ }),
    )
    expect((await listContainers(engine, {})).filter((one) => one.name.startsWith('mayfly-probe-'))).toEqual(
      [],
    )
  })

  test('the host’s nodes are counted, of mayfly and of others, and only those that run', async () => {
    const [own, kinds] = [`${run}.role`, `${run}.kind`]
    const roles = [{ [own]: 'control-plane' }, { [kinds]: 'worker' }, { [kinds]: 'external-load-balancer' }]
    for (const role of roles) await start({ labels: { ...labels, ...role } })
    await create({ labels: { ...labels, [own]: 'worker' } })
    expect(await lookAtHost(engine, { roleLabels: [own, kinds] }, undefined)).toMatchObject({
      runningNodes: 2,
    })
  })

  test('this host is fit for a cluster of one', async () => {
    const { findings } = await preflight(
      engine,
      { nodes: ['control-plane'], image: tinyImage },
      { cacheFile: false },
    )
    expect(findings.filter(({ severity }) => severity === 'error')).toEqual([])
  })
})
