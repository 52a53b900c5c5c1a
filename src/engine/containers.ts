import type Docker from 'dockerode'
import { until, type WaitLimits } from '../wait.ts'
import { ask, engineStatus, unlessGone } from './asking.ts'
import type { Engine } from './engine.ts'
import type { Privilege } from './privilege.ts'

/** A container to be made. Only `name` and `image` are needed. */
export interface ContainerSpec {
  name: string
  /** Reference or id of an image that the engine has. */
  image: string
  /** Default: the engine's choice (a short id). */
  hostname?: string
  /** Replaces the image's entrypoint. */
  entrypoint?: string[]
  /** Replaces the image's command. */
  command?: string[]
  env?: Record<string, string>
  /** `uid`, `uid:gid` or a name. Default: the image's user. */
  user?: string
  /** `false` switches the image's health check off. */
  healthCheck?: false
  labels?: Record<string, string>
  /** What it may do beyond a plain container; see `probePrivilege`. */
  privilege?: Pick<
    Privilege,
    'privileged' | 'capAdd' | 'capDrop' | 'securityOpt' | 'deviceCgroupRules' | 'unmasked'
  >
  /** A cgroup namespace of its own, as a node needs. Default: the engine's choice. */
  privateCgroupNamespace?: boolean
  /** Container path → mount options of a tmpfs (`''` for the defaults, which include noexec). */
  tmpfs?: Record<string, string>
  /**
   * Container paths that get an anonymous volume each, unless `mounts` has them; it is filled from the image, has the
   * container's labels (Podman gives it none), and goes with the container.
   */
  volumes?: string[]
  mounts?: ContainerMount[]
  /** Name of the network to join. Default: the engine's default bridge. */
  network?: string
  /** More DNS names on `network`; the container's own name always works there. */
  aliases?: string[]
  ipv4?: string
  ipv6?: string
  ports?: PortMapping[]
  /** CPUs it may use, fractions allowed. */
  cpus?: number
  /** Memory limit in bytes, without swap on top. */
  memoryBytes?: number
  sysctls?: Record<string, string>
  /** Name → address pairs for /etc/hosts. */
  extraHosts?: Record<string, string>
  dns?: string[]
  dnsSearch?: string[]
  /** Docker's own init process in front. Default false. */
  init?: boolean
  /** A terminal for the main process; its log then has one stream only. Default false. */
  tty?: boolean
  /** Default `no`. */
  restart?: 'no' | 'always' | 'unless-stopped' | { onFailure: number }
  /** Signal that asks the main process to end, e.g. `SIGRTMIN+3` for systemd. */
  stopSignal?: string
  /** Where the engine has the image for several platforms: `linux/amd64`. */
  platform?: string
}

/** A directory, a named volume, or a volume that is made for the container, in the container. */
export type ContainerMount = PlainMount | OptionsVolume

/** An anonymous volume that the engine's `local` driver mounts as told; it goes with the container. */
export interface OptionsVolume {
  type: 'volume'
  target: string
  /** `type`, `device` and `o`, with the meanings that they have for mount(8). */
  driverOptions: Readonly<Record<string, string>>
}

/** A directory or named volume of the host. */
export interface PlainMount {
  type: 'bind' | 'volume'
  /** Path on the engine's host, or the volume's name. */
  source: string
  target: string
  readOnly?: boolean
  propagation?: 'rprivate' | 'rslave' | 'rshared' | 'private' | 'slave' | 'shared'
  /** With what is mounted below a bound directory. Default true. */
  recursive?: boolean
  /** Relabels a bind mount for SELinux (`z`). */
  selinuxRelabel?: boolean
}

/** A port of the container on the engine's host. */
export interface PortMapping {
  containerPort: number
  /** Default: a free one of the engine's choice; see {@link publishedPort}. */
  hostPort?: number
  /** Default `127.0.0.1`. */
  hostAddress?: string
  /** Default `tcp`. */
  protocol?: 'tcp' | 'udp' | 'sctp'
}

/** A container, a network or a volume as a list shows it. */
export interface Listed {
  id: string
  name: string
  labels: Record<string, string>
}

/** A container as a list shows it. */
export interface ListedContainer extends Listed {
  /** `created`, `running`, `paused`, `restarting`, `exited`, `dead`, `removing`. */
  state: string
  image: string
}

/** May stop the request. */
export interface Abortable {
  signal?: AbortSignal | undefined
}

/**
 * Makes a container and does not start it.
 *
 * @returns Its id
 * @throws MayflyError `ENGINE_REFUSED`: status 404 when the image is missing, 409 when the name is taken
 */
export async function createContainer(
  engine: Engine,
  spec: ContainerSpec,
  { signal }: Abortable = {},
): Promise<string> {
  const container = await ask(engine, `create container "${spec.name}"`, signal, (abortSignal) =>
    engine.docker.createContainer({ ...createOptions(engine, spec), abortSignal }),
  )
  return container.id
}

/** Starts a container that was made or stopped; does nothing to one that runs. */
export async function startContainer(
  engine: Engine,
  container: string,
  { signal }: Abortable = {},
): Promise<void> {
  await unchanged(
    ask(engine, `start container "${container}"`, signal, (abortSignal) =>
      engine.docker.getContainer(container).start({ abortSignal }),
    ),
  )
}

/**
 * Asks a container's main process to end and kills it when it doesn't; does nothing to one that is stopped.
 *
 * @param options.graceSeconds How long it may take, default 10
 */
export async function stopContainer(
  engine: Engine,
  container: string,
  { graceSeconds = 10, signal }: Abortable & { graceSeconds?: number } = {},
): Promise<void> {
  await unchanged(
    ask(engine, `stop container "${container}"`, signal, (abortSignal) =>
      engine.docker.getContainer(container).stop({ t: graceSeconds, abortSignal }),
    ),
  )
}

/** Stops and starts a container. `graceSeconds` as for {@link stopContainer}. */
export async function restartContainer(
  engine: Engine,
  container: string,
  { graceSeconds = 10, signal }: Abortable & { graceSeconds?: number } = {},
): Promise<void> {
  await ask(engine, `restart container "${container}"`, signal, (abortSignal) =>
    engine.docker.getContainer(container).restart({ t: graceSeconds, abortSignal }),
  )
}

/** Sends a signal to a container's main process, default `SIGKILL`. */
export async function killContainer(
  engine: Engine,
  container: string,
  { killSignal = 'SIGKILL', signal }: Abortable & { killSignal?: string } = {},
): Promise<void> {
  await ask(engine, `kill container "${container}"`, signal, (abortSignal) =>
    engine.docker.getContainer(container).kill({ signal: killSignal, abortSignal }),
  )
}

/** Freezes all processes of a container. */
export async function pauseContainer(
  engine: Engine,
  container: string,
  { signal }: Abortable = {},
): Promise<void> {
  await ask(engine, `pause container "${container}"`, signal, (abortSignal) =>
    engine.docker.getContainer(container).pause({ abortSignal }),
  )
}

/** Thaws a frozen container. */
export async function unpauseContainer(
  engine: Engine,
  container: string,
  { signal }: Abortable = {},
): Promise<void> {
  await ask(engine, `unpause container "${container}"`, signal, (abortSignal) =>
    engine.docker.getContainer(container).unpause({ abortSignal }),
  )
}

/** Changes the limits of a container, also of a running one. */
export async function updateContainer(
  engine: Engine,
  container: string,
  { cpus, memoryBytes }: { cpus?: number; memoryBytes?: number },
  { signal }: Abortable = {},
): Promise<void> {
  await ask(engine, `update container "${container}"`, signal, (abortSignal) =>
    engine.docker.getContainer(container).update({ ...limits({ cpus, memoryBytes }), abortSignal }),
  )
}

/** A removal that somebody else began takes no longer than this. */
const removalLimitMs = 60_000

/**
 * Removes a container with its anonymous volumes, running or not, and waits until it is gone. Nothing happens when
 * there is none, and a removal that someone else began is waited for.
 *
 * @returns Whether there was one
 */
export async function removeContainer(
  engine: Engine,
  container: string,
  { signal }: Abortable = {},
): Promise<boolean> {
  const handle = engine.docker.getContainer(container)
  const what = `remove container "${container}"`
  const begun = ask(engine, what, signal, (abortSignal) =>
    handle.remove({ force: true, v: true, abortSignal } as object),
  )
  try {
    return await unlessGone(begun)
  } catch (thrown) {
    if (engineStatus(thrown) !== 409) throw thrown
    // Docker can wait for a removal too, but waits for ever when that ends at the wrong moment (seen with 20.10).
    const gone = async (limit: AbortSignal) => {
      const exists = unlessGone(inspectContainer(engine, container, { signal: limit }))
      return (await exists) ? undefined : true
    }
    await until(`the removal of container "${container}"`, gone, { timeoutMs: removalLimitMs, signal })
    return true
  }
}

/** All that the engine knows about a container. Status 404 when there is none. */
export async function inspectContainer(
  engine: Engine,
  container: string,
  { signal }: Abortable = {},
): Promise<Docker.ContainerInspectInfo> {
  return ask(engine, `inspect container "${container}"`, signal, (abortSignal) =>
    engine.docker.getContainer(container).inspect({ abortSignal }),
  )
}

/**
 * Waits until a container's main process has ended.
 *
 * @returns Its exit code
 */
export async function waitForExit(
  engine: Engine,
  container: string,
  { signal }: Partial<WaitLimits> = {},
): Promise<number> {
  const { StatusCode } = (await ask(
    engine,
    `wait for the end of container "${container}"`,
    signal,
    (abortSignal) => engine.docker.getContainer(container).wait({ abortSignal }),
  )) as { StatusCode: number }
  return StatusCode
}

/**
 * Lists containers in any state that have all of these labels.
 *
 * @param labels Label → value, or `true` for any value
 */
export async function listContainers(
  engine: Engine,
  labels: Record<string, string | true>,
  { signal }: Abortable = {},
): Promise<ListedContainer[]> {
  const found = await ask(engine, 'list containers', signal, (abortSignal) =>
    engine.docker.listContainers({ all: true, filters: { label: labelFilter(labels) }, abortSignal }),
  )
  return found.map(({ Id, Names, Labels, State, Image }) => ({
    id: Id,
    name: Names[0]?.replace(/^\//, '') ?? Id,
    labels: Labels ?? {},
    state: State,
    image: Image,
  }))
}

/** The host's port for a container's port, once the container runs; `undefined` when it is not published. */
export function publishedPort(
  inspected: Docker.ContainerInspectInfo,
  containerPort: number,
  protocol: 'tcp' | 'udp' | 'sctp' = 'tcp',
): number | undefined {
  const bindings = inspected.NetworkSettings.Ports?.[`${containerPort}/${protocol}`]
  const port = bindings?.[0]?.HostPort
  return port ? Number(port) : undefined
}

/** The `label` filter of the list calls. */
export function labelFilter(labels: Record<string, string | true>): string[] {
  return Object.entries(labels).map(([label, value]) => (value === true ? label : `${label}=${value}`))
}

/** "Nothing to do" is an answer with status 304, which dockerode takes for an error. */
async function unchanged(request: Promise<unknown>): Promise<void> {
  try {
    await request
  } catch (thrown) {
    if (engineStatus(thrown) !== 304) throw thrown
  }
}

/** What stands in a network's place and is none; Podman refuses to have a container attached to it. */
const networkModes: ReadonlySet<string> = new Set(['none', 'host'])

function createOptions(engine: Engine, spec: ContainerSpec): Docker.ContainerCreateOptions {
  const { privilege, network } = spec
  const hostConfig = {
    Init: spec.init ?? false,
    ...(network && { NetworkMode: network }),
    ...(privilege && {
      Privileged: privilege.privileged ?? false,
      CapAdd: privilege.capAdd,
      CapDrop: privilege.capDrop,
      SecurityOpt: privilege.securityOpt,
      DeviceCgroupRules: privilege.deviceCgroupRules,
      // What the client's `systempaths=unconfined` stands for.
      ...(privilege.unmasked && engine.kind === 'docker' && { MaskedPaths: [], ReadonlyPaths: [] }),
    }),
    ...(spec.privateCgroupNamespace && { CgroupnsMode: 'private' }),
    ...(spec.tmpfs && { Tmpfs: spec.tmpfs }),
    ...bindsAndMounts(engine, spec),
    ...(spec.ports && { PortBindings: portBindings(spec.ports) }),
    ...limits(spec),
    ...(spec.sysctls && { Sysctls: spec.sysctls }),
    ...(spec.extraHosts && {
      ExtraHosts: Object.entries(spec.extraHosts).map(([name, address]) => `${name}:${address}`),
    }),
    ...(spec.dns && { Dns: spec.dns }),
    ...(spec.dnsSearch && { DnsSearch: spec.dnsSearch }),
    RestartPolicy: restartPolicy(spec.restart ?? 'no'),
  }
  return {
    name: spec.name,
    Image: spec.image,
    Labels: spec.labels ?? {},
    Tty: spec.tty ?? false,
    ...(spec.hostname && { Hostname: spec.hostname }),
    ...(spec.entrypoint && { Entrypoint: spec.entrypoint }),
    ...(spec.command && { Cmd: spec.command }),
    ...(spec.user && { User: spec.user }),
    ...(spec.healthCheck === false && { Healthcheck: { Test: ['NONE'] } }),
    ...(spec.env && { Env: Object.entries(spec.env).map(([name, value]) => `${name}=${value}`) }),
    ...(spec.stopSignal && { StopSignal: spec.stopSignal }),
    ...(spec.platform && { platform: spec.platform }),
    // Podman's Docker API knows no labels here.
    ...(spec.volumes &&
      engine.kind === 'podman' && { Volumes: Object.fromEntries(spec.volumes.map((path) => [path, {}])) }),
    ...(spec.ports && {
      ExposedPorts: Object.fromEntries(spec.ports.map((port) => [portKey(port), {}])),
    }),
    ...(network &&
      !networkModes.has(network) && { NetworkingConfig: { EndpointsConfig: { [network]: endpoint(spec) } } }),
    HostConfig: hostConfig as Docker.HostConfig,
  }
}

/** SELinux relabelling exists only in the older `Binds` form, so that one is used for bind mounts that ask for it. */
function bindsAndMounts(
  engine: Engine,
  { mounts = [], volumes = [], labels = {} }: ContainerSpec,
): Pick<Docker.HostConfig, 'Binds' | 'Mounts'> {
  const isRelabelled = (mount: ContainerMount): mount is PlainMount =>
    'selinuxRelabel' in mount && mount.selinuxRelabel === true
  const relabelled = mounts.filter(isRelabelled)
  const others = mounts.filter((mount) => !isRelabelled(mount))
  const free = volumes.filter((path) => !mounts.some(({ target }) => target === path))
  const settings = [
    ...(engine.kind === 'docker' ? free.map((path) => anonymousVolume(path, labels)) : []),
    ...others.map((mount) => mountSettings(mount, labels)),
  ]
  return {
    ...(relabelled.length > 0 && {
      Binds: relabelled.map(({ source, target, readOnly, propagation }) =>
        [source, target, [readOnly ? 'ro' : 'rw', 'z', propagation].filter(Boolean).join(',')].join(':'),
      ),
    }),
    ...(settings.length > 0 && { Mounts: settings }),
  }
}

/** A volume without a name; its labels tell whose it is when the engine dies while it removes the container. */
function anonymousVolume(
  path: string,
  labels: Record<string, string>,
  driverOptions?: Readonly<Record<string, string>>,
): Docker.MountSettings {
  const DriverConfig = driverOptions ? { Name: 'local', Options: driverOptions } : { Name: '', Options: {} }
  const options = { NoCopy: driverOptions !== undefined, Labels: labels, DriverConfig }
  // Docker refuses "read-only" beside a volume without a name.
  return { Type: 'volume', Source: '', Target: path, VolumeOptions: options }
}

function mountSettings(mount: ContainerMount, labels: Record<string, string>): Docker.MountSettings {
  if ('driverOptions' in mount) return anonymousVolume(mount.target, labels, mount.driverOptions)
  const { type, source, target, readOnly = false, propagation, recursive = true } = mount
  const isPlain = type === 'volume' || (recursive && !propagation)
  // Docker's default; its types want one wherever there is another option.
  const options = { Propagation: propagation ?? 'rprivate', ...(!recursive && { NonRecursive: true }) }
  return {
    Type: type,
    Source: source,
    Target: target,
    ReadOnly: readOnly,
    ...(!isPlain && { BindOptions: options }),
  }
}

function endpoint({ aliases, ipv4, ipv6 }: ContainerSpec): Docker.EndpointSettings {
  return {
    ...(aliases && { Aliases: aliases }),
    ...((ipv4 || ipv6) && {
      IPAMConfig: { ...(ipv4 && { IPv4Address: ipv4 }), ...(ipv6 && { IPv6Address: ipv6 }) },
    }),
  }
}

function limits({ cpus, memoryBytes }: { cpus?: number | undefined; memoryBytes?: number | undefined }) {
  return {
    ...(cpus && { NanoCpus: Math.round(cpus * 1e9) }),
    ...(memoryBytes && { Memory: memoryBytes, MemorySwap: memoryBytes }),
  }
}

function portKey({ containerPort, protocol = 'tcp' }: PortMapping): string {
  return `${containerPort}/${protocol}`
}

function portBindings(ports: PortMapping[]): Record<string, { HostIp: string; HostPort: string }[]> {
  const bindings: Record<string, { HostIp: string; HostPort: string }[]> = {}
  for (const port of ports) {
    const list = bindings[portKey(port)] ?? []
    list.push({
      HostIp: port.hostAddress ?? '127.0.0.1',
      HostPort: port.hostPort ? String(port.hostPort) : '',
    })
    bindings[portKey(port)] = list
  }
  return bindings
}

function restartPolicy(restart: NonNullable<ContainerSpec['restart']>): Docker.HostRestartPolicy {
  return typeof restart === 'string'
    ? { Name: restart }
    : { Name: 'on-failure', MaximumRetryCount: restart.onFailure }
}
