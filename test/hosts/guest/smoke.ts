/** What runs inside the guest: a cluster's whole life, on the engine that is there. Its last line is the verdict. */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Cluster, createCluster, MayflyError } from 'mayfly'
import { lookIn } from './look-in.ts'

/** How much slower than the machine around it the guest is when it has nothing else to do. */
const slowness = Math.max(
  1,
  Number(run('node', join(import.meta.dirname, 'slowness.ts'))) /
    Number(process.env['MAYFLY_HOSTS_REFERENCE_MS']),
)
/** Every deadline is stretched by that, and once more by two, for a node leaves neither machine at rest. */
const within = (ms: number) => ({ timeoutMs: Math.round(ms * slowness * 2) })

const client = process.env['DOCKER_HOST']?.includes('podman') ? 'podman' : 'docker'
/** A step that takes longer is looked into, so often. */
const lookEveryMs = 180_000
let failures = 0

console.log(`kernel ${run('uname', '-r')}, ${slowness.toFixed(1)} times slower than around it`)
console.log(run(client, 'version'))
// Its service starts with the first that asks, which takes longer here than anybody would wait.
if (client === 'podman') run('podman', '--url', process.env['DOCKER_HOST'] ?? '', 'version')
console.log(
  readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.includes(' /sys/fs/cgroup'))
    .join('\n'),
)
console.log(readFileSync('/proc/self/status', 'utf8').match(/CapBnd.*/)?.[0])

makeImage('smoke:1', 'one')
makeImage('smoke:2', 'two')

const clusters = { 'one node': ['control-plane'], 'two nodes': ['control-plane', 'worker'] } as const
const wanted = Number(process.env['MAYFLY_HOSTS_NODES'])
if (!wanted) await check('a node starts as kind starts it, with --privileged', privilegedNode)
for (const [name, nodes] of Object.entries(clusters)) {
  if (!wanted || nodes.length === wanted) await life(name, nodes)
}
await check('nothing is left', async () => {
  const left = [
    run(client, 'ps', '-aq', '--filter', 'label=io.mayfly.cluster'),
    run(client, 'volume', 'ls', '-q'),
    run(client, 'network', 'ls', '-q', '--filter', 'label=io.mayfly.cluster'),
  ].join('')
  if (left !== '') throw new Error(left)
})
console.log(`VERDICT ${failures === 0 ? 'passed' : `${failures} failed`}`)

/** The life of a cluster; what depends on a step that failed is left out. */
async function life(name: string, nodes: readonly ('control-plane' | 'worker')[]): Promise<void> {
  let cluster: Cluster | undefined
  const go = async (what: string, step: (of: Cluster) => Promise<unknown>) => {
    const { ok } = await check(`${name}: ${what}`, async () => {
      if (!cluster) throw new Error('there is no cluster')
      return step(cluster)
    })
    return ok
  }
  await check(`${name}: is created`, async () => {
    cluster = await createCluster({
      name: name.replace(' ', '-'),
      nodes: [...nodes],
      progress: 'plain',
      ...within(60_000),
    })
  })
  if (!cluster) return
  await go('an image is loaded, without a copy where the engine allows it', async (of) => {
    const { images } = await of.loadImages(['smoke:1'])
    return images[0]?.summary
  })
  await go('an image is loaded by stream', async (of) => {
    const { images } = await of.loadImages(['smoke:2'], { strategy: 'stream' })
    return images[0]?.summary
  })
  await go('a loaded image is known to be there', async (of) => {
    const { images } = await of.loadImages(['smoke:1', 'smoke:2'])
    const states = images.flatMap((image) => Object.values(image.nodes))
    if (states.some((state) => state !== 'present')) throw new Error(JSON.stringify(images))
  })
  await go('pods run, and find each other by DNS through a Service', async (of) => {
    const last = of.nodes.at(-1)?.name
    await post(of, 'pods', serverPod(last))
    await post(of, 'services', {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'server' },
      spec: { selector: { app: 'server' }, ports: [{ port: 80, targetPort: 8080 }] },
    })
    await post(of, 'pods', clientPod(of.nodes[0]?.name))
    await untilPhase(of, 'client', 'Succeeded')
  })
  const saved = await go('its state is saved', (of) => of.snapshot('saved', within(10_000)))
  await go('pods and objects change', async (of) => {
    await post(of, 'configmaps', { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'later' } })
    await post(of, 'pods', { ...serverPod(of.nodes[0]?.name), metadata: { name: 'later', labels: {} } })
    await of.kube.request('DELETE', '/api/v1/namespaces/default/services/server')
    await untilPhase(of, 'later', 'Running')
  })
  if (saved) {
    await go('it is rolled back', async (of) => {
      const report = await of.rollback('saved', within(60_000))
      const pods = await of.kube.request<{ items: { metadata: { name: string } }[] }>(
        'GET',
        '/api/v1/namespaces/default/pods',
      )
      const podNames = pods.items.map(({ metadata }) => metadata.name).join()
      if (podNames !== 'client,server') throw new Error(podNames)
      await of.kube.request('GET', '/api/v1/namespaces/default/services/server')
      return JSON.stringify(report)
    })
  }
  await go('it is stopped and started', async (of) => {
    await of.stop({ graceSeconds: Math.round(5 * slowness) })
    await of.start(within(60_000))
    await untilPhase(of, 'server', 'Running')
  })
  await go('it is deleted', (of) => of.delete())
}

async function privilegedNode(): Promise<string> {
  const image = process.env['MAYFLY_NODE_IMAGE'] ?? ''
  run(
    client,
    'run',
    '-d',
    '--name=privileged',
    '--privileged',
    '--security-opt=seccomp=unconfined',
    '--tmpfs=/tmp',
    '--tmpfs=/run',
    '--volume=/var',
    '--volume=/lib/modules:/lib/modules:ro',
    '--cgroupns=private',
    '-t',
    image,
  )
  try {
    await until('Multi-User System', 60_000, () =>
      /Reached target .*Multi-User System/.test(run(client, 'logs', 'privileged')),
    )
    run(client, 'exec', 'privileged', 'mayfly-node', 'kubelet-cgroup')
    run(client, 'exec', 'privileged', 'ctr', 'version')
    return run(
      client,
      'exec',
      'privileged',
      'sh',
      '-c',
      'cat /sys/fs/cgroup/kubelet/cgroup.subtree_control; cat /proc/self/cgroup',
    )
  } finally {
    run(client, 'rm', '-fv', 'privileged')
  }
}

function serverPod(nodeName: string | undefined): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'server', labels: { app: 'server' } },
    spec: {
      nodeName,
      terminationGracePeriodSeconds: 0,
      containers: [
        {
          name: 'server',
          image: 'smoke:1',
          command: ['/bin/busybox', 'httpd', '-f', '-p', '8080', '-h', '/'],
        },
      ],
    },
  }
}

function clientPod(nodeName: string | undefined): object {
  const ask =
    'until test "$(wget -qO- http://server.default.svc.cluster.local/which)" = one; do sleep 1; done'
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'client' },
    spec: {
      nodeName,
      restartPolicy: 'Never',
      terminationGracePeriodSeconds: 0,
      containers: [{ name: 'client', image: 'smoke:2', command: ['/bin/sh', '-c', ask] }],
    },
  }
}

function post(cluster: Cluster, kind: string, body: object): Promise<unknown> {
  return cluster.kube.request('POST', `/api/v1/namespaces/default/${kind}`, { body })
}

async function untilPhase(cluster: Cluster, pod: string, phase: string): Promise<void> {
  await until(`pod ${pod} to be ${phase}`, 30_000, async () => {
    const { status } = await cluster.kube.request<{ status: { phase: string } }>(
      'GET',
      `/api/v1/namespaces/default/pods/${pod}`,
    )
    if (status.phase !== phase && ['Failed', 'Succeeded'].includes(status.phase))
      throw new Error(`it is ${status.phase}`)
    return status.phase === phase ? true : JSON.stringify(status)
  })
}

/** Asks until the answer is true; any other one is what was last seen. */
async function until(what: string, ms: number, ask: () => unknown): Promise<void> {
  const { timeoutMs } = within(ms)
  for (const end = performance.now() + timeoutMs; ; await sleep(1000)) {
    const seen = await ask()
    if (seen === true) return
    if (performance.now() > end)
      throw new Error(`waited ${Math.round(timeoutMs / 1000)} s for ${what}; last seen: ${seen}`)
  }
}

async function check(what: string, step: () => Promise<unknown>): Promise<{ ok: boolean }> {
  const started = performance.now()
  const took = () => `${((performance.now() - started) / 1000).toFixed(1)}s`
  const over = new AbortController()
  void lookIn(client, lookEveryMs, over.signal)
  try {
    const said = await step()
    console.log(` ✓ ${what}  ${took()}${typeof said === 'string' ? `\n     ${said.trim()}` : ''}`)
    return { ok: true }
  } catch (thrown) {
    failures++
    console.log(` ✗ ${what}  ${took()}\n${thrown instanceof Error ? thrown.stack : thrown}`)
    if (thrown instanceof MayflyError) showLogs()
    return { ok: false }
  } finally {
    over.abort()
  }
}

/** The ends of what the nodes of a boot that failed had to say. */
function showLogs(): void {
  const dir = '.mayfly/failed'
  const files = (() => {
    try {
      return readdirSync(dir, { recursive: true, withFileTypes: true })
    } catch {
      return []
    }
  })()
  for (const file of files.filter((one) => one.isFile())) {
    const text = readFileSync(join(file.parentPath, file.name), 'utf8')
    // A console shows again and again how long systemd has been at something.
    const lines = text.split('\n').filter((line) => !/^\W*M?\s*$|\] Job .* running/.test(line))
    const telling = lines.filter((line) => /error|fail|warn|panic|cgroup|refused/i.test(line))
    console.log(`--- ${file.name}\n${telling.slice(0, 40).join('\n')}\n...\n${lines.slice(-30).join('\n')}`)
  }
}

/** An image with BusyBox and one file that says which it is. */
function makeImage(name: string, which: string): void {
  const dir = join('/root/images', createHash('md5').update(name).digest('hex'))
  mkdirSync(join(dir, 'bin'), { recursive: true })
  run('cp', '/bin/busybox', join(dir, 'bin'))
  for (const applet of ['sh', 'wget', 'sleep', 'test', 'httpd'])
    symlinkSync('busybox', join(dir, 'bin', applet))
  writeFileSync(join(dir, 'which'), which)
  run('sh', '-c', `tar -C ${dir} -c . | ${client} import - ${name}`)
}

function run(command: string, ...args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8' })
  if (error) throw error
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: exit code ${status}\n${stdout}${stderr}`)
  return `${stdout}${stderr}`.trim()
}
