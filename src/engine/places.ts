import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { MayflyError, messageOf } from '../errors.ts'

/** A place where a container engine may answer. Plain data, so that another process can connect to the same one. */
export interface EnginePlace {
  /** Where the address comes from, as a user would say it: `DOCKER_HOST`, `docker context "colima"`. */
  source: string
  /** `unix://`, `npipe://`, `tcp://`, `http://`, `https://` or `ssh://`. */
  address: string
  /** The user named this place, so no other one is tried when it fails. */
  chosen: boolean
  /** PEM texts for a TLS connection. */
  tls?: EngineTls
}

/** How to talk TLS to an engine; all texts are PEM. */
export interface EngineTls {
  ca?: string
  cert?: string
  key?: string
  /** Accept any server certificate (the context's `SkipTLSVerify`). */
  skipVerify?: boolean
}

/** What {@link enginePlaces} looks at besides the file system. */
export interface Surroundings {
  env: NodeJS.ProcessEnv
  platform?: NodeJS.Platform
  uid?: number
}

/**
 * Lists the places where an engine may answer, most wanted first: `DOCKER_HOST`, the current `docker context`,
 * Docker's default and rootless sockets, Podman's sockets. A place that the user named stands alone.
 *
 * The order of the first three is the Docker client's own
 * (docs.docker.com/engine/manage-resources/contexts, "Use a different context").
 *
 * @throws MayflyError `ENGINE_NOT_FOUND` when the context or the certificates that the user named can't be read
 */
export async function enginePlaces({
  env,
  platform = process.platform,
  uid = process.getuid?.() ?? 0,
}: Surroundings): Promise<EnginePlace[]> {
  const home = env['HOME'] ?? homedir()
  const configFolder = env['DOCKER_CONFIG'] ?? join(home, '.docker')

  if (env['DOCKER_HOST']) return [await placeFromDockerHost(env['DOCKER_HOST'], env, configFolder)]

  const context = env['DOCKER_CONTEXT'] || (await currentContext(configFolder))
  if (context && context !== 'default') {
    const origin = env['DOCKER_CONTEXT'] ? 'DOCKER_CONTEXT' : join(configFolder, 'config.json')
    return [await placeFromContext(context, origin, configFolder)]
  }

  const sockets: [source: string, address: string][] = []
  if (platform === 'win32') {
    sockets.push(['default pipe', 'npipe:////./pipe/docker_engine'])
  } else {
    const runtimeFolder = env['XDG_RUNTIME_DIR']
    sockets.push(['default socket', 'unix:///var/run/docker.sock'])
    if (runtimeFolder) sockets.push(['rootless socket', `unix://${runtimeFolder}/docker.sock`])
    sockets.push(
      ['Docker Desktop', `unix://${home}/.docker/run/docker.sock`],
      ['Docker Desktop', `unix://${home}/.docker/desktop/docker.sock`],
      ['rootless socket', `unix:///run/user/${uid}/docker.sock`],
    )
    if (env['CONTAINER_HOST']) sockets.push(['CONTAINER_HOST', env['CONTAINER_HOST']])
    if (runtimeFolder) sockets.push(['rootless Podman', `unix://${runtimeFolder}/podman/podman.sock`])
    sockets.push(['Podman', 'unix:///run/podman/podman.sock'])
  }
  const seen = new Set<string>()
  return sockets
    .filter(([, address]) => !seen.has(address) && seen.add(address))
    .map(([source, address]) => ({ source, address, chosen: false }))
}

async function placeFromDockerHost(
  host: string,
  env: NodeJS.ProcessEnv,
  configFolder: string,
): Promise<EnginePlace> {
  const place: EnginePlace = {
    source: 'DOCKER_HOST',
    address: host.includes('://') ? host : `tcp://${host}`,
    chosen: true,
  }
  // Any value but the empty one switches verification on (docs.docker.com/engine/security/protect-access).
  if (env['DOCKER_TLS_VERIFY']) {
    const folder = env['DOCKER_CERT_PATH'] || configFolder
    place.tls = await readTls(folder, 'DOCKER_CERT_PATH')
  } else if (env['DOCKER_TLS'] && env['DOCKER_CERT_PATH']) {
    place.tls = { ...(await readTls(env['DOCKER_CERT_PATH'], 'DOCKER_CERT_PATH')), skipVerify: true }
  }
  return place
}

async function currentContext(configFolder: string): Promise<string | undefined> {
  const text = await readIfThere(join(configFolder, 'config.json'))
  if (text === undefined) return undefined
  try {
    return (JSON.parse(text) as { currentContext?: string }).currentContext
  } catch (cause) {
    throw new MayflyError(
      'ENGINE_NOT_FOUND',
      `Can't tell the current docker context: ${join(configFolder, 'config.json')} is not JSON (${messageOf(cause)})`,
      { cause, hint: 'repair the file, or set DOCKER_HOST' },
    )
  }
}

/** Layout: github.com/docker/cli, cli/context/store (meta and tls folders named by the SHA-256 of the name). */
async function placeFromContext(name: string, origin: string, configFolder: string): Promise<EnginePlace> {
  const id = createHash('sha256').update(name).digest('hex')
  const file = join(configFolder, 'contexts', 'meta', id, 'meta.json')
  const text = await readIfThere(file)
  if (text === undefined) {
    throw new MayflyError(
      'ENGINE_NOT_FOUND',
      `The docker context "${name}", named by ${origin}, does not exist: ${file} can't be read`,
      { hint: 'pick one that `docker context ls` shows with `docker context use`, or set DOCKER_HOST' },
    )
  }
  let endpoint: { Host?: string; SkipTLSVerify?: boolean } | undefined
  try {
    endpoint = (JSON.parse(text) as { Endpoints?: { docker?: typeof endpoint } }).Endpoints?.docker
  } catch (cause) {
    throw new MayflyError('ENGINE_NOT_FOUND', `The docker context "${name}" is broken: ${file} is not JSON`, {
      cause,
    })
  }
  if (!endpoint?.Host) {
    throw new MayflyError(
      'ENGINE_NOT_FOUND',
      `The docker context "${name}" has no docker endpoint in ${file}`,
    )
  }
  const place: EnginePlace = { source: `docker context "${name}"`, address: endpoint.Host, chosen: true }
  const tlsFolder = join(configFolder, 'contexts', 'tls', id, 'docker')
  const ca = await readIfThere(join(tlsFolder, 'ca.pem'))
  const cert = await readIfThere(join(tlsFolder, 'cert.pem'))
  const key = await readIfThere(join(tlsFolder, 'key.pem'))
  if (ca || cert || endpoint.SkipTLSVerify) {
    place.tls = {
      ...(ca && { ca }),
      ...(cert && { cert }),
      ...(key && { key }),
      ...(endpoint.SkipTLSVerify && { skipVerify: true }),
    }
  }
  return place
}

async function readTls(folder: string, origin: string): Promise<EngineTls> {
  try {
    const [ca, cert, key] = await Promise.all(
      ['ca.pem', 'cert.pem', 'key.pem'].map((name) => readFile(join(folder, name), 'utf8')),
    )
    return { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) }
  } catch (cause) {
    throw new MayflyError(
      'ENGINE_NOT_FOUND',
      `DOCKER_HOST asks for TLS, and its certificates can't be read: ${messageOf(cause)}`,
      { cause, hint: `put ca.pem, cert.pem and key.pem into the folder that ${origin} names` },
    )
  }
}

async function readIfThere(file: string): Promise<string | undefined> {
  return readFile(file, 'utf8').catch(() => undefined)
}
