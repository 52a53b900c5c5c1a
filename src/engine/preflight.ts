import { MayflyError } from '../errors.ts'
import type { Engine } from './engine.ts'
import { type HostFacts, type HostQuestions, lookAtHost } from './host-facts.ts'
import type { Privilege } from './privilege.ts'
import { type ProbeOptions, probePrivilege } from './privilege-probe.ts'

/** Something that the engine's host lacks. */
export interface Finding {
  /** A cluster can't work (`error`), or may fail or be slow (`warning`). */
  severity: 'error' | 'warning'
  /** One sentence: what is missing, what was seen, what to do. */
  sentence: string
}

/** What is to run on the host. */
export interface PreflightPlan extends HostQuestions {
  /** The roles of the nodes. */
  nodes: readonly ('control-plane' | 'worker')[]
  /** An image of the engine for the privilege probe. */
  image: string
}

/** The oldest engines with private cgroup namespaces and cgroup v2. */
const oldestVersion = { docker: [20, 10], podman: [4, 0] } as const

const mebibyte = 2 ** 20
const gibibyte = 2 ** 30
/** Less than this and images and etcd fail half-way; and less than that and the kubelet may evict pods. */
const diskNeeded = 2 * gibibyte
const diskWanted = 5 * gibibyte
/** What an idle node takes, as `docker stats` shows it. */
const idleMemory = {
  'control-plane': 700 * mebibyte,
  'control-plane-only': 400 * mebibyte,
  worker: 200 * mebibyte,
}
/**
 * An idle control plane takes 25 inotify instances and 252 watches, a worker 12 and 137, counted in the /proc of their
 * processes. The rest is room for pods of their user.
 */
const inotifyInstancesPerNode = 40
const inotifyWatchesPerNode = 1024

/** Without these a node does not boot: mounts, cgroups, networks, devices, and users of containers. */
const neededCapabilities = new Set(
  [
    'CHOWN',
    'DAC_OVERRIDE',
    'FOWNER',
    'FSETID',
    'KILL',
    'MKNOD',
    'NET_ADMIN',
    'NET_BIND_SERVICE',
    'NET_RAW',
    'SETFCAP',
    'SETGID',
    'SETPCAP',
    'SETUID',
    'SYS_ADMIN',
    'SYS_CHROOT',
    'SYS_PTRACE',
  ].map((name) => `CAP_${name}`),
)

/**
 * Looks whether the engine's host can carry a cluster, before anything is made (but for the privilege probe's throwaway
 * containers, the first time on a host).
 *
 * @returns What is missing, worst first; nothing on a fit host
 */
export async function preflight(
  engine: Engine,
  plan: PreflightPlan,
  options: ProbeOptions = {},
): Promise<{ findings: Finding[]; privilege: Privilege }> {
  const [privilege, facts] = await Promise.all([
    probePrivilege(engine, plan.image, options),
    lookAtHost(engine, plan, options.signal),
  ])
  return { privilege, findings: judgeHost({ ...facts, missingCapabilities: privilege.missing }, plan) }
}

/** What idle nodes take, in bytes. */
export function memoryNeeded(nodes: readonly (keyof typeof idleMemory)[]): number {
  return nodes.reduce((sum, role) => sum + idleMemory[role], 0)
}

/**
 * Refuses a host that can't carry a cluster.
 *
 * @throws MayflyError `HOST_UNFIT` with every error among the findings
 */
export function assertHostFit(engine: Pick<Engine, 'describe'>, findings: readonly Finding[]): void {
  const errors = findings.filter(({ severity }) => severity === 'error')
  if (errors.length === 0) return
  throw new MayflyError('HOST_UNFIT', `The host of ${engine.describe()} can't run a cluster:`, {
    output: errors.map(({ sentence }) => `- ${sentence}`).join('\n'),
  })
}

/** Says what a host lacks for a cluster with these nodes. Pure, so that hosts that nobody has can be tested. */
export function judgeHost(
  facts: HostFacts,
  { nodes, ipvs = false }: Pick<PreflightPlan, 'nodes' | 'ipvs'>,
): Finding[] {
  const errors: string[] = []
  const warnings: string[] = []
  const engineName = facts.kind === 'podman' ? 'Podman' : 'Docker'
  const count = `${nodes.length} ${nodes.length === 1 ? 'node' : 'nodes'}`

  const [major, minor] = oldestVersion[facts.kind]
  if (isOlder(facts.version, major, minor)) {
    errors.push(`${engineName} ${facts.version} is too old: ${major}.${minor} or newer is needed.`)
  }
  if (facts.osType !== 'linux') {
    errors.push(`The engine runs ${facts.osType} containers: switch it to Linux containers.`)
  }
  const lacking = facts.missingCapabilities.filter((name) => neededCapabilities.has(name))
  if (lacking.length > 0) {
    errors.push(
      `The engine can't give ${list(lacking)} to a container, which a node needs: grant that to the engine's own service.`,
    )
  }
  const harmless = facts.missingCapabilities.filter((name) => !neededCapabilities.has(name))
  if (harmless.length > 0) {
    warnings.push(
      `The engine can't give ${list(harmless)} to a container: nodes work without, but a pod that adds it does not start.`,
    )
  }
  if (facts.rootless && facts.cgroupVersion === 1) {
    errors.push(
      `Rootless ${engineName} can't limit containers on cgroup v1: boot the host with cgroup v2 (systemd.unified_cgroup_hierarchy=1), or use a rootful engine.`,
    )
  }
  if (facts.rootless && facts.cgroupVersion === 2) {
    const cure =
      facts.kind === 'podman'
        ? '`sudo systemctl start podman.socket` and DOCKER_HOST=unix:///run/podman/podman.sock'
        : 'DOCKER_HOST=unix:///var/run/docker.sock'
    errors.push(
      `Rootless ${engineName} can't run nodes: they make device nodes, which no user namespace allows. Use a rootful engine (${cure}).`,
    )
  }
  const undelegated = Object.entries(facts.controllers).flatMap(([name, usable]) => (usable ? [] : [name]))
  if (undelegated.length > 0 && !(facts.rootless && facts.cgroupVersion === 1)) {
    const cure = facts.rootless
      ? 'delegate them to your user with "Delegate=cpu cpuset io memory pids" in a drop-in of user@.service'
      : 'switch them on in the kernel'
    errors.push(
      `The engine can't use cgroup controllers that the kubelet needs (${list(undelegated)}): ${cure}.`,
    )
  }
  if (!facts.ipForwarding) {
    errors.push(
      'IP forwarding is off on the host, so pods would not reach each other: switch it on with `sysctl -w net.ipv4.ip_forward=1`.',
    )
  }
  if (ipvs && facts.ipvs === false) {
    errors.push(
      "The host's kernel has no IPVS (ip_vs), which kube-proxy is told to use: set `kubeProxyMode` to iptables or nftables.",
    )
  }
  const { runningNodes = 0, inotifyInstances, inotifyWatches, freeDiskBytes, availableMemoryBytes } = facts
  // Limits of inotify are for all that one user runs, and in nodes that is root.
  const together = runningNodes === 0 ? count : `${count} beside ${runningNodes} that run`
  const instances = inotifyInstancesPerNode * (nodes.length + runningNodes)
  if (inotifyInstances !== undefined && inotifyInstances < instances) {
    warnings.push(
      `fs.inotify.max_user_instances is ${inotifyInstances}, and ${together} may need ${instances}: raise it with \`sysctl -w fs.inotify.max_user_instances=${Math.max(512, 2 * instances)}\`.`,
    )
  }
  const watches = inotifyWatchesPerNode * (nodes.length + runningNodes)
  if (inotifyWatches !== undefined && inotifyWatches < watches) {
    warnings.push(
      `fs.inotify.max_user_watches is ${inotifyWatches}, and ${together} may need ${watches}: raise it with \`sysctl -w fs.inotify.max_user_watches=${Math.max(524_288, 2 * watches)}\`.`,
    )
  }
  if (freeDiskBytes !== undefined && freeDiskBytes < diskWanted) {
    const seen = `Only ${gibibytes(freeDiskBytes)} are free in ${facts.rootDir}`
    if (freeDiskBytes < diskNeeded) {
      errors.push(
        `${seen}, and a cluster needs ${gibibytes(diskNeeded)}: make room, for instance with \`docker system prune\`.`,
      )
    } else warnings.push(`${seen}, and below ${gibibytes(diskWanted)} larger images may not fit: make room.`)
  }
  const memory = memoryNeeded(nodes)
  if (availableMemoryBytes !== undefined && availableMemoryBytes < memory) {
    warnings.push(
      `Only ${Math.floor(availableMemoryBytes / mebibyte)} MiB of memory are available, and ${count} take about ${Math.ceil(memory / mebibyte)} MiB: stop something, or use fewer nodes.`,
    )
  }
  return [
    ...errors.map((sentence) => ({ severity: 'error' as const, sentence })),
    ...warnings.map((sentence) => ({ severity: 'warning' as const, sentence })),
  ]
}

function isOlder(version: string, major: number, minor: number): boolean {
  const [theirMajor, theirMinor = 0] = version.split('.').map((part) => Number.parseInt(part, 10))
  // Development builds have no number.
  if (theirMajor === undefined || Number.isNaN(theirMajor)) return false
  return theirMajor < major || (theirMajor === major && theirMinor < minor)
}

function gibibytes(bytes: number): string {
  return `${(bytes / gibibyte).toFixed(1)} GiB`
}

function list(names: readonly string[]): string {
  return new Intl.ListFormat('en', { type: 'conjunction' }).format(names)
}
