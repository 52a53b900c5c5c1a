import { readFile } from 'node:fs/promises'
import {
  type Engine,
  execOrThrow,
  inspectContainer,
  readFile as readNodeFile,
} from '../../src/engine/index.ts'
import { conditionOf, connectKube, type Kube, watchList } from '../../src/kube/index.ts'
import { pause, until } from '../../src/wait.ts'

/** Something that was seen from outside; times are milliseconds since the epoch. */
export interface Sighting {
  at: number
  what: 'container started' | 'readyz' | 'Ready'
  /** Of an object that became Ready; it is told again when that was taken back in between. */
  name?: string
}

/** How busy the host's processors were in a span that ended at `at`. */
export interface CpuSample {
  at: number
  /** 0 to 1, of all processors. */
  busy: number
}

/** What a boot left to be read. */
export interface Recording {
  begun: number
  usable: number
  sightings: readonly Sighting[]
  cpu: readonly CpuSample[]
  /** `journalctl --output short-iso-precise` of the node. */
  journal: string
  /** The logs of its pods, each below a line `== NAMESPACE_POD_UID/CONTAINER/0.log`. */
  podLogs: string
}

const limits = { timeoutMs: 120_000 }

/** Records a boot of one node, from before its container is there, without asking the tool that boots it. */
export async function record(engine: Engine, node: string, boot: () => Promise<void>): Promise<Recording> {
  const stop = new AbortController()
  const sightings: Sighting[] = []
  const begun = Date.now()
  const cpu = sampleCpu(stop.signal)
  const watching = watch(engine, node, (sighting) => sightings.push(sighting), stop.signal)
  try {
    await boot()
  } finally {
    stop.abort()
  }
  const usable = Date.now()
  await watching
  const read = (...argv: string[]) => execOrThrow(engine, node, argv)
  return {
    begun,
    usable,
    sightings,
    cpu: await cpu,
    journal: await read('journalctl', '--output', 'short-iso-precise', '--no-pager'),
    podLogs: await read(
      'sh',
      '-c',
      'cd /var/log/pods && for log in */*/*.log; do echo "== $log"; cat "$log"; done',
    ),
  }
}

async function watch(
  engine: Engine,
  node: string,
  tell: (sighting: Sighting) => void,
  signal: AbortSignal,
): Promise<void> {
  const soon = { ...limits, intervalMs: 20, signal }
  try {
    const { address, startedAt } = await until('the container', () => runningContainer(engine, node), soon)
    tell({ at: startedAt, what: 'container started' })
    const kubeconfig = await until('the kubeconfig', () => adminKubeconfig(engine, node), soon)
    using kube = connectKube(kubeconfig.replace(/server: .*/, `server: https://${address}:6443`))
    await until(
      'the API server',
      async () => (await kube.request('GET', '/readyz')) === 'ok' || undefined,
      soon,
    )
    tell({ at: Date.now(), what: 'readyz' })
    await Promise.all(['/api/v1/nodes', '/api/v1/pods'].map((path) => watchReady(kube, path, tell, signal)))
  } catch (thrown) {
    // The boot has ended before all was seen.
    if (!signal.aborted) throw thrown
  }
}

async function runningContainer(engine: Engine, node: string) {
  const { State, NetworkSettings } = await inspectContainer(engine, node)
  const [network] = Object.values(NetworkSettings.Networks)
  if (!State.Running || !network?.IPAddress) return undefined
  return { address: network.IPAddress, startedAt: Date.parse(State.StartedAt) }
}

/** The one that needs no role binding, which kubeadm makes late, comes first. */
async function adminKubeconfig(engine: Engine, node: string): Promise<string | undefined> {
  for (const name of ['super-admin.conf', 'admin.conf']) {
    const content = await readNodeFile(engine, node, `/etc/kubernetes/${name}`)
    if (content?.includes('client-key-data')) return String(content)
  }
  return undefined
}

async function watchReady(
  kube: Kube,
  path: string,
  tell: (sighting: Sighting) => void,
  signal: AbortSignal,
): Promise<void> {
  const ready = new Set<string>()
  for await (const { items } of watchList(kube, { path }, { signal })) {
    for (const [key, object] of items) {
      const wasReady = ready.delete(key)
      if (conditionOf(object, 'Ready')?.status !== 'True') continue
      ready.add(key)
      if (!wasReady) tell({ at: Date.now(), what: 'Ready', name: object.metadata.name ?? '' })
    }
  }
}

/** @see proc_stat(5) */
async function sampleCpu(signal: AbortSignal): Promise<CpuSample[]> {
  const read = async () => {
    const [line = ''] = (await readFile('/proc/stat', 'utf8')).split('\n', 1)
    const ticks = line.split(/\s+/).slice(1, 9).map(Number)
    const total = ticks.reduce((sum, value) => sum + value, 0)
    return { total, idle: (ticks[3] ?? 0) + (ticks[4] ?? 0) }
  }
  const samples: CpuSample[] = []
  let before = await read()
  while (!signal.aborted) {
    await pause(100, signal)
    const now = await read()
    const total = now.total - before.total
    if (total > 0) samples.push({ at: Date.now(), busy: 1 - (now.idle - before.idle) / total })
    before = now
  }
  return samples
}
