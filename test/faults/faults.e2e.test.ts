import { execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { describe, expect, onTestFinished, test } from 'vitest'
import { hasIpvs } from '../../src/engine/host-facts.ts'
import {
  type Cluster,
  type CreateClusterOptions,
  clean,
  createCluster,
  deleteCluster,
  listClusters,
} from '../../src/index.ts'
import { label } from '../../src/reaper/index.ts'
import { nothingLeft, noWatchdogLeft } from './leftovers.ts'

const docker = (...argv: string[]) => execFileSync('docker', argv, { encoding: 'utf8' }).trim()

function uniqueName(): string {
  return `fault-${randomBytes(4).toString('hex')}`
}

/** A folder of its own; with a size it is a file system that gets full. */
function folder(size?: string): string {
  const path = mkdtempSync(join(tmpdir(), 'mayfly-fault-'))
  if (size) execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'mayfly', path])
  onTestFinished(() => {
    if (size) execFileSync('umount', ['--lazy', path])
    rmSync(path, { recursive: true })
  })
  return path
}

/** Creates a cluster that must fail, checks that nothing is left of it, and gives the error. */
async function failure(options: CreateClusterOptions): Promise<unknown> {
  const name = options.name ?? uniqueName()
  const outcome = await createCluster({ progress: 'silent', ...options, name }).then(
    async (cluster) => {
      await cluster.delete()
      return new Error('it was created')
    },
    (thrown: unknown) => thrown,
  )
  await nothingLeft({ [label.cluster]: name })
  return outcome
}

describe('the process is killed', () => {
  /** Starts a process that creates a cluster and kills it when it tells that line. */
  async function killAt(line: RegExp, options: object, env: NodeJS.ProcessEnv = {}) {
    const program = join(import.meta.dirname, 'child.ts')
    const child = spawn(process.execPath, [program, JSON.stringify(options)], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, ...env },
    })
    let owner = ''
    for await (const told of createInterface({ input: child.stdout })) {
      owner ||= /^owner (.*)/.exec(told)?.[1] ?? ''
      if (!line.test(told)) continue
      child.kill('SIGKILL')
      return owner
    }
    throw new Error(`the process ended before it told ${line}`)
  }

  test.each([
    ['while the host is looked at', /^start Check the host/],
    ['while the network is made', /^start Prepare keys/],
    ['while nodes are started', /^start Start 2 nodes/],
    ['while the control plane starts', /^start Start the control plane/],
    ['while pods start', /^start Wait until/],
    ['afterwards', /^created/],
  ])('%s', async (_, line) => {
    const owner = await killAt(line, { name: uniqueName(), nodes: ['control-plane', 'worker'] })
    await nothingLeft({ [label.owner]: owner })
    await noWatchdogLeft(owner)
  })

  test('while it makes a cluster that is to outlive it', async () => {
    const name = uniqueName()
    const owner = await killAt(/^start Start the control plane/, { name, keep: true })
    await nothingLeft({ [label.cluster]: name })
    await noWatchdogLeft(owner)
  })

  test('after it has made one: that one stays', async () => {
    const name = uniqueName()
    const owner = await killAt(/^created/, { name, keep: true })
    await noWatchdogLeft(owner)
    await clean()
    expect(await listClusters()).toContainEqual(
      expect.objectContaining({ name, status: 'ready', kept: true }),
    )
    expect(await deleteCluster(name)).toBe(true)
  })

  test('while a base snapshot is made', async () => {
    const cache = folder()
    const options = { name: uniqueName(), networking: { podSubnet: '10.99.0.0/16' } }
    const owner = await killAt(/^start Bake/, options, { MAYFLY_CACHE_DIR: cache })
    await nothingLeft({ [label.owner]: owner })
    await noWatchdogLeft(owner)
  })
})

/** Docker gives packets between containers to the host's packet filter; others may not, nor is that everybody's to change. */
const filtersBridges =
  process.getuid?.() === 0 &&
  existsSync('/proc/sys/net/bridge/bridge-nf-call-iptables') &&
  readFileSync('/proc/sys/net/bridge/bridge-nf-call-iptables', 'utf8').trim() === '1'

test.skipIf(!filtersBridges)('a host that drops what pods send to other nodes is told', async () => {
  // Of the second node's pods; no pod has the last address.
  const rule = ['DOCKER-USER', '-s', '10.244.1.255/32', '-j', 'DROP']
  execFileSync('iptables', ['-I', ...rule])
  onTestFinished(() => void execFileSync('iptables', ['-D', ...rule]))
  expect(await failure({ nodes: ['control-plane', 'worker'] })).toMatchObject({
    code: 'WAIT_TIMED_OUT',
    message: expect.stringMatching(/DNS does not answer on node .*-worker\n/),
    hint: expect.stringContaining('drops what pods of different nodes send to each other'),
    output: expect.stringContaining('answers the node, and not 10.244.1.255'),
  })
})

test('a node that dies while it joins ends the creation at once, with what it said', async () => {
  const name = uniqueName()
  const died = performance.now()
  const error = await failure({
    name,
    nodes: ['control-plane', 'worker'],
    onProgress: ({ type, step }) => {
      if (type !== 'start' || step !== 'Start the control plane') return
      // It has said something, so there is something to show.
      execFileSync('sh', ['-c', `until docker logs ${name}-worker | grep -q .; do :; done`])
      docker('kill', `${name}-worker`)
    },
  })
  expect(error).toMatchObject({
    code: 'NODE_EXITED',
    message: expect.stringMatching(new RegExp(`Node ${name}-worker ended with exit code 137`)),
    output: expect.stringMatching(/systemd|Reached target|starting/),
  })
  // The time-out is three minutes.
  expect(performance.now() - died).toBeLessThan(60_000)
})

describe('a full disk', () => {
  test('under containerd: the node says so as it ends', async () => {
    const full = folder('64k')
    const error = await failure({
      nodes: [{ extraMounts: [{ hostPath: full, containerPath: '/var/lib/containerd' }] }],
    })
    expect(error).toMatchObject({
      code: 'NODE_EXITED',
      message: expect.stringContaining('no space left on device'),
    })
  })

  test('where files are put into a node: the engine says so', async () => {
    const full = folder('4k')
    const error = await failure({
      nodes: [{ extraMounts: [{ hostPath: full, containerPath: '/etc/kubernetes' }] }],
    })
    expect(error).toMatchObject({ message: expect.stringContaining('no space left on device') })
  })

  test('under etcd: the node says so', async () => {
    const full = folder('256k')
    const error = await failure({
      nodes: [{ extraMounts: [{ hostPath: full, containerPath: '/var/lib/etcd' }] }],
    })
    expect(error).toMatchObject({ message: expect.stringContaining('no space left on device') })
  })
})

describe('one name', () => {
  test('of two creations at once one wins, and the other leaves it alone', async () => {
    const name = uniqueName()
    const outcomes = await Promise.allSettled([1, 2].map(() => createCluster({ name, progress: 'silent' })))
    const winners = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []))
    const losers = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason] : []))
    expect(losers).toMatchObject([{ code: 'CLUSTER_EXISTS', message: expect.stringContaining(name) }])
    const [winner] = winners as [Cluster]
    expect(await winner.kube.request('GET', '/readyz')).toBe('ok')
    expect(await failureOnly(name)).toMatchObject({ code: 'CLUSTER_EXISTS' })
    expect(await winner.kube.request('GET', '/readyz')).toBe('ok')
    await winner.delete()
    await nothingLeft({ [label.cluster]: name })
  })

  async function failureOnly(name: string): Promise<unknown> {
    return createCluster({ name, progress: 'silent' }).catch((thrown: unknown) => thrown)
  }
})

describe('images', () => {
  test('one that is missing, of any node', async () => {
    const missing = 'mayfly/no-such-image:v0'
    const error = { code: 'NODE_IMAGE_MISSING', message: expect.stringContaining(missing) }
    expect(await failure({ image: missing })).toMatchObject(error)
    expect(await failure({ nodes: ['control-plane', { role: 'worker', image: missing }] })).toMatchObject(
      error,
    )
  })

  test('one that is no node image', async () => {
    const image = 'mayfly-test/no-node:v0'
    execFileSync('sh', ['-c', `tar c --files-from /dev/null | docker import - ${image}`], { stdio: 'ignore' })
    onTestFinished(() => void docker('rmi', image))
    expect(await failure({ image })).toMatchObject({
      code: 'NODE_IMAGE_UNFIT',
      message: expect.stringContaining(image),
    })
  })

  test('one that only says it is a node image', async () => {
    const image = 'mayfly-test/liar:v0'
    const change = 'LABEL io.mayfly.kubernetes=v1.37.2'
    execFileSync(
      'sh',
      ['-c', `tar c --files-from /dev/null | docker import --change '${change}' - ${image}`],
      {
        stdio: 'ignore',
      },
    )
    onTestFinished(() => void docker('rmi', image))
    expect(await failure({ image })).toMatchObject({ name: 'MayflyError' })
  })
})

test.each([/^Prepare keys/, /^Start the node/, /^Start the control plane/, /^Wait until/])(
  'the caller aborts during "%s"',
  async (step) => {
    const abort = new AbortController()
    const error = await failure({
      signal: abort.signal,
      onProgress: (event) => {
        if (event.type === 'start' && step.test(event.step)) setImmediate(() => abort.abort())
      },
    })
    expect(error).toMatchObject({ code: 'WAIT_ABORTED' })
  },
)

test.runIf((await hasIpvs()) === false)('kube-proxy is to use IPVS, which the kernel has not', async () => {
  expect(await failure({ networking: { kubeProxyMode: 'ipvs' } })).toMatchObject({
    code: 'HOST_UNFIT',
    message: expect.stringContaining('no IPVS'),
  })
})

test('a kubelet flag that does not exist: the error names the node and what its kubelet said', async () => {
  const patch = 'kind: InitConfiguration\nnodeRegistration:\n  kubeletExtraArgs: {no-such-flag: "1"}\n'
  const error = await failure({ timeoutMs: 25_000, nodes: [{ kubeadmConfigPatches: [patch] }] })
  expect(error).toMatchObject({ code: 'WAIT_TIMED_OUT', message: expect.stringContaining('no-such-flag') })
})
