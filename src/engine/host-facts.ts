import { existsSync } from 'node:fs'
import { readFile, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { ask } from './asking.ts'
import { type ListedContainer, listContainers } from './containers.ts'
import type { Engine } from './engine.ts'

/** What was seen of a host; `undefined` where it can't be looked at, for instance through a remote engine. */
export interface HostFacts {
  kind: Engine['kind']
  version: string
  osType: string
  rootless: boolean
  cgroupVersion: 1 | 2
  /** cgroup controllers that the engine can use. */
  controllers: { memory: boolean; pids: boolean; cpu: boolean }
  ipForwarding: boolean
  missingCapabilities: string[]
  /** Nodes of any cluster that run there already, kind's too. */
  runningNodes?: number | undefined
  inotifyInstances?: number | undefined
  inotifyWatches?: number | undefined
  freeDiskBytes?: number | undefined
  rootDir: string
  availableMemoryBytes?: number | undefined
  /** The kernel has IPVS, or can load it. */
  ipvs?: boolean | undefined
}

/** Memory that the engine's host has left, in bytes; where that can't be seen, all that it has. */
export async function memoryAvailable(engine: Engine): Promise<number> {
  const seen = engine.local ? await availableMemoryBytes().catch(() => undefined) : undefined
  return seen ?? engine.memoryBytes
}

/** What is asked of a host beside what every cluster needs to know. */
export interface HostQuestions {
  /** Labels of nodes' containers, of mayfly and of others, whose value is the node's role. Default: none. */
  roleLabels?: readonly string[]
  /** Whether its kernel has IPVS, as kube-proxy is to use it. Default false. */
  ipvs?: boolean
}

/** Looks at the engine's host: milliseconds. */
export async function lookAtHost(
  engine: Engine,
  { roleLabels = [], ipvs: asksForIpvs = false }: HostQuestions,
  signal: AbortSignal | undefined,
): Promise<Omit<HostFacts, 'missingCapabilities'>> {
  const here = <T>(look: () => Promise<T>) => (engine.local ? look().catch(() => undefined) : undefined)
  const [answer, runningNodes, inotifyInstances, inotifyWatches, disk, availableMemory, ipvs] =
    await Promise.all([
      ask(engine, 'describe its host', signal, () => engine.docker.info() as Promise<EngineLimits>),
      here(() => countNodes(engine, roleLabels, signal)),
      here(() => readNumber('/proc/sys/fs/inotify/max_user_instances')),
      here(() => readNumber('/proc/sys/fs/inotify/max_user_watches')),
      here(() => statfs(engine.rootDir)),
      memoryAvailable(engine),
      asksForIpvs ? here(() => hasIpvs()) : undefined,
    ])
  return {
    kind: engine.kind,
    version: engine.version,
    osType: answer.OSType ?? 'linux',
    rootless: engine.rootless,
    cgroupVersion: engine.cgroupVersion,
    controllers: usableControllers(engine, answer),
    ipForwarding: forwardsPackets(engine, answer),
    runningNodes,
    inotifyInstances,
    inotifyWatches,
    freeDiskBytes: disk && disk.bavail * disk.bsize,
    rootDir: engine.rootDir,
    availableMemoryBytes: availableMemory,
    ipvs,
  }
}

/** Whether pods will reach each other, as far as an engine tells. Pure. */
export function forwardsPackets({ kind }: Pick<Engine, 'kind'>, { IPv4Forwarding }: EngineLimits): boolean {
  // Docker switches it on when it starts, Podman with the first container on a network.
  return kind === 'podman' || (IPv4Forwarding ?? true)
}

/** Which cgroup controllers an engine says that it can use; of what it does not say, the best is thought. Pure. */
export function usableControllers(
  { kind, cgroupVersion }: Pick<Engine, 'kind' | 'cgroupVersion'>,
  { MemoryLimit, PidsLimit, CpuCfsQuota }: EngineLimits,
): HostFacts['controllers'] {
  // Podman answers for processors by files that only cgroup v1 has (seen in 5.4.2).
  const tellsOfCpu = kind === 'docker' || cgroupVersion === 1
  return { memory: MemoryLimit ?? true, pids: PidsLimit ?? true, cpu: !tellsOfCpu || (CpuCfsQuota ?? true) }
}

/** Part of the answer to GET /info; engines leave out what they don't know. */
interface EngineLimits {
  OSType?: string
  MemoryLimit?: boolean
  PidsLimit?: boolean
  CpuCfsQuota?: boolean
  IPv4Forwarding?: boolean
}

async function readNumber(file: string): Promise<number> {
  return Number.parseInt(await readFile(file, 'utf8'), 10)
}

async function availableMemoryBytes(): Promise<number | undefined> {
  const kibibytes = /^MemAvailable:\s+(\d+) kB/m.exec(await readFile('/proc/meminfo', 'utf8'))?.[1]
  return kibibytes === undefined ? undefined : Number(kibibytes) * 1024
}

async function countNodes(
  engine: Engine,
  roleLabels: readonly string[],
  signal: AbortSignal | undefined,
): Promise<number> {
  const found = await Promise.all(
    roleLabels.map((name) => listContainers(engine, { [name]: true }, { signal })),
  )
  const isNode = ({ labels, state }: ListedContainer) =>
    state === 'running' && roleLabels.some((name) => /^(control-plane|worker)$/.test(labels[name] ?? ''))
  return found.flat().filter(isNode).length
}

/**
 * Whether this host's kernel has IPVS or can load it; `undefined` when its modules can't be looked at.
 *
 * @see https://man7.org/linux/man-pages/man5/modules.dep.5.html
 */
export async function hasIpvs(proc = '/proc', modules = '/lib/modules'): Promise<boolean | undefined> {
  if (existsSync(join(proc, 'net/ip_vs'))) return true
  // A kernel that loads no modules has no such file.
  if (!existsSync(join(proc, 'modules'))) return false
  const release = (await readFile(join(proc, 'sys/kernel/osrelease'), 'utf8')).trim()
  const lists = await Promise.all(
    ['modules.dep', 'modules.builtin'].map((name) =>
      readFile(join(modules, release, name), 'utf8').catch(() => undefined),
    ),
  )
  const known = lists.filter((list) => list !== undefined)
  if (known.some((list) => /\/ip_vs\.ko/.test(list))) return true
  return known.length > 0 ? false : undefined
}
