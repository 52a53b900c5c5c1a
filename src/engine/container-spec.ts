import type Docker from 'dockerode'
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
  /**
   * Left out where the host has no such path. Default false: the engine refuses the container. Podman's Docker API does
   * neither, it makes the path.
   */
  optional?: boolean
}

/** The modules of the host's kernel. A host whose kernel has everything built in may have none. */
export const kernelModules: PlainMount = {
  type: 'bind',
  source: '/lib/modules',
  target: '/lib/modules',
  readOnly: true,
  optional: true,
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

/** What stands in a network's place and is none; Podman refuses to have a container attached to it. */
const networkModes: ReadonlySet<string> = new Set(['none', 'host'])

/** The request for such a container, as the engine's API wants it. */
export function createOptions(engine: Engine, spec: ContainerSpec): Docker.ContainerCreateOptions {
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

/** The part of a request that limits a container. */
export function limits({
  cpus,
  memoryBytes,
}: {
  cpus?: number | undefined
  memoryBytes?: number | undefined
}) {
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
