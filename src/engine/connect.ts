import { Agent } from 'node:http'
import { Agent as SecureAgent } from 'node:https'
import { hostname, release } from 'node:os'
import { inspect } from 'node:util'
import Docker from 'dockerode'
import { MayflyError, messageOf } from '../errors.ts'
import { deadline } from '../wait.ts'
import type { Engine } from './engine.ts'
import { type EnginePlace, enginePlaces } from './places.ts'

/** How long one place may take to answer; an engine that is being socket-activated needs seconds. */
const answerLimitMs = 10_000

/**
 * Connects to the container engine that the user has: see {@link enginePlaces} for the order.
 *
 * @param options.env Where DOCKER_HOST and the like are read, default `process.env`
 * @param options.signal Stops the search
 * @throws MayflyError `ENGINE_NOT_FOUND` with every place that was tried and why it failed
 */
export async function connectEngine({
  env = process.env,
  signal,
}: {
  env?: NodeJS.ProcessEnv
  signal?: AbortSignal | undefined
} = {}): Promise<Engine> {
  return firstThatAnswers(await enginePlaces({ env }), { signal })
}

/** The engine at the first of these places where one answers; throws as {@link connectEngine} does. */
export async function firstThatAnswers(
  places: readonly EnginePlace[],
  { signal }: { signal?: AbortSignal | undefined } = {},
): Promise<Engine> {
  const failures: string[] = []
  for (const place of places) {
    try {
      return await connectTo(place, { signal })
    } catch (thrown) {
      if (signal?.aborted) throw thrown
      failures.push(`${place.address} (${place.source}): ${messageOf(thrown)}`)
      if (place.chosen) {
        throw new MayflyError(
          'ENGINE_NOT_FOUND',
          `No container engine answers at ${place.address}, which ${place.source} names: ${messageOf(thrown)}`,
          { cause: thrown, hint: 'start it, or correct or unset that setting to have other places tried' },
        )
      }
    }
  }
  throw new MayflyError('ENGINE_NOT_FOUND', 'No container engine answers; these places were tried:', {
    hint: 'start Docker or Podman, or say where it is with DOCKER_HOST',
    output: failures.join('\n'),
  })
}

/**
 * Connects to the engine at one place.
 *
 * @throws Error with the plain reason when nothing answers there; the caller says what that means
 */
export async function connectTo(
  place: EnginePlace,
  { signal }: { signal?: AbortSignal | undefined } = {},
): Promise<Engine> {
  const docker = new Docker(clientOptions(place))
  const asking = docker as unknown as AboutItself
  const abortSignal = deadline({ timeoutMs: answerLimitMs, signal })
  const [version, info] = await Promise.all([
    asking.version({ abortSignal }),
    asking.info({ abortSignal }),
  ]).catch((thrown: unknown) => {
    throw new Error(
      signal?.aborted ? 'aborted' : abortSignal.aborted ? 'no answer in 10 s' : plainReason(thrown),
      {
        cause: thrown,
      },
    )
  })
  if (!version.ApiVersion || !info.DockerRootDir) throw new Error('what answers there is no container engine')
  const kind = version.Components?.some(({ Name }) => Name === 'Podman Engine') ? 'podman' : 'docker'
  const securityOptions = info.SecurityOptions ?? []
  const remoteHost = remoteHostOf(place.address)
  return {
    kind,
    version: version.Version,
    apiVersion: version.ApiVersion,
    // Podman makes up another id for each answer.
    id: kind === 'docker' && info.ID ? info.ID : `${info.Name}:${info.DockerRootDir}`,
    hostName: info.Name,
    kernel: info.KernelVersion,
    arch: version.Arch,
    cgroupVersion: info.CgroupVersion === '2' ? 2 : 1,
    cgroupDriver: info.CgroupDriver,
    storageDriver: info.Driver,
    storageStatus: Object.fromEntries(info.DriverStatus ?? []),
    containerdNamespace: info.Containerd?.Namespaces?.Containers ?? 'moby',
    rootDir: info.DockerRootDir,
    rootless: securityOptions.some((option) => option.startsWith('name=rootless')),
    securityOptions,
    local:
      place.address.startsWith('unix://') && info.Name === hostname() && info.KernelVersion === release(),
    ...(remoteHost !== undefined && { remoteHost }),
    memoryBytes: info.MemTotal,
    cpus: info.NCPU,
    place,
    docker,
    describe: () => `${kind === 'podman' ? 'Podman' : 'Docker'} ${version.Version} at ${place.address}`,
  }
}

/** dockerode's types for these calls lack the signal and some of the answer. */
interface AboutItself {
  version(options: { abortSignal: AbortSignal }): Promise<EngineVersion>
  info(options: { abortSignal: AbortSignal }): Promise<EngineInfo>
}

interface EngineVersion {
  Version: string
  ApiVersion: string
  Arch: string
  Components?: { Name: string }[]
}

interface EngineInfo {
  ID?: string
  Name: string
  KernelVersion: string
  CgroupVersion?: string
  CgroupDriver: string
  Driver: string
  DriverStatus?: [name: string, value: string][]
  /** Newer releases tell. */
  Containerd?: { Namespaces?: { Containers?: string } }
  DockerRootDir: string
  SecurityOptions?: string[]
  MemTotal: number
  NCPU: number
}

/** The machine of an engine's address; `undefined` for this one. */
export function remoteHostOf(address: string): string | undefined {
  const { protocol, hostname: host } = new URL(address)
  if (protocol === 'unix:' || protocol === 'npipe:') return undefined
  const name = host.replace(/^\[(.*)\]$/, '$1')
  return /^(localhost|127\.[\d.]+|::1)$/.test(name) ? undefined : name
}

/**
 * Opens a connection for each request. One that is kept may turn out to lead to an engine that was restarted since, or to
 * have been closed on the way there; a new one costs nothing on this host, and little beside what is asked for elsewhere.
 */
function terseAgent({ secure = false } = {}): Agent {
  const agent = secure ? new SecureAgent({ keepAlive: false }) : new Agent({ keepAlive: false })
  // docker-modem formats the options of every request for its debug output, shown or not, with all that hangs on its
  // agent: open sockets, parsers, their buffers. That took 40 ms of processor time in each boot of a node.
  return Object.assign(agent, { [inspect.custom]: () => '[Agent]' })
}

function clientOptions({ address, tls }: EnginePlace): Docker.DockerOptions {
  const { protocol, hostname: host, port, username, pathname } = new URL(address)
  // docker-modem reads DOCKER_HOST by itself and prefers it; naming each field keeps the environment out.
  const blank = { host: undefined, port: undefined, ca: undefined, cert: undefined, key: undefined }
  const secure = tls !== undefined || protocol === 'https:'
  switch (protocol) {
    case 'unix:':
      return {
        ...blank,
        protocol: 'http',
        socketPath: address.slice('unix://'.length),
        agent: terseAgent(),
      } as Docker.DockerOptions
    case 'npipe:':
      return {
        ...blank,
        protocol: 'http',
        socketPath: address.slice('npipe://'.length),
        agent: terseAgent(),
      } as Docker.DockerOptions
    case 'ssh:':
      return {
        ...blank,
        protocol: 'ssh',
        host,
        port: port || 22,
        username,
        sshOptions: { agent: process.env['SSH_AUTH_SOCK'] },
      } as Docker.DockerOptions
    case 'tcp:':
    case 'http:':
    case 'https:':
      return {
        ...blank,
        protocol: secure ? 'https' : 'http',
        host,
        port: port || (secure ? 2376 : 2375),
        agent: terseAgent({ secure }),
        pathPrefix: pathname || '/',
        ...(tls?.ca && { ca: tls.ca }),
        ...(tls?.cert && { cert: tls.cert }),
        ...(tls?.key && { key: tls.key }),
        ...(tls?.skipVerify && { checkServerIdentity: () => undefined }),
      } as Docker.DockerOptions
    default:
      throw new Error(`"${protocol}//" is no address of an engine; unix, npipe, tcp, http, https and ssh are`)
  }
}

/** The reason without the address, which the message around it has already. */
function plainReason(thrown: unknown): string {
  const { statusCode } = thrown as { statusCode?: number }
  if (statusCode !== undefined) return `what answers there is no container engine (HTTP ${statusCode})`
  switch ((thrown as NodeJS.ErrnoException).code) {
    case 'ENOENT':
      return 'no such file'
    case 'EACCES':
      return 'permission denied'
    case 'ECONNREFUSED':
      return 'connection refused'
    case 'ENOTFOUND':
      return 'host name not found'
    default:
      return messageOf(thrown).trim()
  }
}
