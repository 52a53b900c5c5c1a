import { randomBytes, randomInt } from 'node:crypto'
import { MayflyError } from '../errors.ts'
import { until } from '../wait.ts'
import { ask, engineStatus, unlessGone } from './asking.ts'
import { type Abortable, type Listed, labelFilter } from './containers.ts'
import type { Engine } from './engine.ts'

/** A bridge network to be made. */
export interface NetworkSpec {
  name: string
  labels?: Record<string, string>
  /** IPv4 subnet in CIDR form. Default: a free one of the engine's choice. */
  subnet?: string
  /** IPv6 subnet in CIDR form, which also switches IPv6 on: see {@link randomUlaSubnet}. */
  ipv6Subnet?: string
  /** MTU of the bridge. Default: the engine's. */
  mtu?: number
}

/** What was made. */
export interface Network {
  id: string
  name: string
  /** Subnets in CIDR form and their gateways, IPv4 first. */
  subnets: { subnet: string; gateway?: string }[]
}

/**
 * Makes a bridge network whose containers find each other by name.
 *
 * @throws MayflyError `ENGINE_REFUSED`, with status 409 when the name is taken
 */
export async function createNetwork(
  engine: Engine,
  spec: NetworkSpec,
  { signal }: Abortable = {},
): Promise<Network> {
  for (;;) {
    const id = await requestNetwork(engine, spec, signal)
    // Docker looks for the name and takes it in two steps, so of two requests at once both may succeed
    // (github.com/moby/moby/issues/20648). Whoever sees a namesake steps back; when both did, both try again.
    const alone = async () => {
      const found = await listNetworks(engine, {}, { signal })
      return found.every((network) => network.name !== spec.name || network.id === id)
    }
    if (await alone()) return inspectNetwork(engine, id, { signal })
    await removeNetwork(engine, id, { signal })
    await until(`the other network "${spec.name}" to go`, async () => (await alone()) || undefined, {
      timeoutMs: 500,
      intervalMs: randomInt(20, 200),
      signal,
    }).catch(() => undefined)
  }
}

async function requestNetwork(
  engine: Engine,
  { name, labels, subnet, ipv6Subnet, mtu }: NetworkSpec,
  signal: AbortSignal | undefined,
): Promise<string> {
  const subnets = [subnet, ipv6Subnet].filter((one) => one !== undefined)
  try {
    const network = await ask(engine, `create network "${name}"`, signal, (abortSignal) =>
      engine.docker.createNetwork({
        Name: name,
        Driver: 'bridge',
        CheckDuplicate: true,
        Labels: labels ?? {},
        ...(ipv6Subnet && { EnableIPv6: true }),
        ...(subnets.length > 0 && {
          IPAM: { Driver: 'default', Config: subnets.map((Subnet) => ({ Subnet })) },
        }),
        ...(mtu && { Options: { 'com.docker.network.driver.mtu': String(mtu) } }),
        abortSignal,
      }),
    )
    return network.id
  } catch (thrown) {
    if (/non-overlapping|all predefined address pools/i.test(String(thrown))) {
      throw new MayflyError('ENGINE_REFUSED', `No free IPv4 subnet is left for network "${name}"`, {
        cause: (thrown as Error).cause,
        hint: 'remove unused networks with `mayfly clean` or `docker network prune`, or widen default-address-pools in daemon.json',
      })
    }
    throw thrown
  }
}

/**
 * A random /64 of the unique local addresses (RFC 4193), so that networks of clusters that never heard of each other do
 * not clash.
 */
export function randomUlaSubnet(): string {
  const hex = randomBytes(7).toString('hex')
  const groups = [`fd${hex.slice(0, 2)}`, hex.slice(2, 6), hex.slice(6, 10), hex.slice(10, 14)]
  return `${groups.map((group) => group.replace(/^0{1,3}/, '')).join(':')}::/64`
}

/** What the engine knows about a network. Status 404 when there is none. */
export async function inspectNetwork(
  engine: Engine,
  name: string,
  { signal }: Abortable = {},
): Promise<Network> {
  const found = await ask(engine, `inspect network "${name}"`, signal, () =>
    engine.docker.getNetwork(name).inspect(),
  )
  const configs = (found.IPAM?.Config ?? []) as { Subnet?: string; Gateway?: string }[]
  return {
    id: found.Id,
    name: found.Name,
    subnets: configs
      .filter(({ Subnet }) => Subnet)
      .map(({ Subnet, Gateway }) => ({ subnet: Subnet as string, ...(Gateway && { gateway: Gateway }) }))
      .sort((a, b) => Number(a.subnet.includes(':')) - Number(b.subnet.includes(':'))),
  }
}

/** The network of this name, made if there is none. Several may ask for it at once. */
export async function ensureNetwork(
  engine: Engine,
  spec: NetworkSpec,
  { signal }: Abortable = {},
): Promise<Network> {
  return until(
    `network "${spec.name}"`,
    async () => {
      const [found, namesake] = (await listNetworks(engine, {}, { signal })).filter(
        ({ name }) => name === spec.name,
      )
      if (namesake) return undefined
      return found ? inspectNetwork(engine, found.id, { signal }) : createNetwork(engine, spec, { signal })
    },
    { timeoutMs: 10_000, signal },
  )
}

/** Lets a container join a network as well. */
export async function connectNetwork(
  engine: Engine,
  network: string,
  container: string,
  { aliases, ipv4, ipv6, signal }: Abortable & { aliases?: string[]; ipv4?: string; ipv6?: string } = {},
): Promise<void> {
  await ask(engine, `connect container "${container}" to network "${network}"`, signal, (abortSignal) =>
    engine.docker.getNetwork(network).connect({
      Container: container,
      EndpointConfig: {
        ...(aliases && { Aliases: aliases }),
        ...((ipv4 || ipv6) && {
          IPAMConfig: { ...(ipv4 && { IPv4Address: ipv4 }), ...(ipv6 && { IPv6Address: ipv6 }) },
        }),
      },
      abortSignal,
    } as object),
  )
}

/** Takes a container off a network, running or not. Nothing happens when it is not on it. */
export async function disconnectNetwork(
  engine: Engine,
  network: string,
  container: string,
  { signal }: Abortable = {},
): Promise<void> {
  try {
    await ask(
      engine,
      `disconnect container "${container}" from network "${network}"`,
      signal,
      (abortSignal) =>
        engine.docker
          .getNetwork(network)
          .disconnect({ Container: container, Force: true, abortSignal } as object),
    )
  } catch (thrown) {
    if (engineStatus(thrown) === 404 || /is not connected to/.test(String(thrown))) return
    throw thrown
  }
}

/**
 * Removes a network. Containers that are still on it are taken off it first: those of the user, and those whose
 * removal is under way. Nothing happens when there is none.
 *
 * @returns Whether there was one
 * @throws MayflyError `WAIT_TIMED_OUT` when it is in use even after 10 s
 */
export async function removeNetwork(
  engine: Engine,
  name: string,
  { signal }: Abortable = {},
): Promise<boolean> {
  const remove = () =>
    unlessGone(
      ask(engine, `remove network "${name}"`, signal, (abortSignal) =>
        engine.docker.getNetwork(name).remove({ abortSignal } as object),
      ),
    )
  return until(
    `network "${name}" to be free`,
    async () => {
      try {
        return await remove()
      } catch (thrown) {
        const status = engineStatus(thrown)
        if (status !== 403 && status !== 409) throw thrown
        await disconnectAll(engine, name, signal)
        throw thrown
      }
    },
    { timeoutMs: 10_000, signal },
  )
}

/** Lists networks that have all of these labels. */
export async function listNetworks(
  engine: Engine,
  labels: Record<string, string | true>,
  { signal }: Abortable = {},
): Promise<Listed[]> {
  const found = await ask(engine, 'list networks', signal, (abortSignal) =>
    engine.docker.listNetworks({ filters: { label: labelFilter(labels) }, abortSignal } as object),
  )
  return found.map(({ Id, Name, Labels }) => ({ id: Id, name: Name, labels: Labels ?? {} }))
}

async function disconnectAll(engine: Engine, name: string, signal: AbortSignal | undefined): Promise<void> {
  const found = await ask(engine, `inspect network "${name}"`, signal, () =>
    engine.docker.getNetwork(name).inspect(),
  )
  const containers = Object.keys((found.Containers ?? {}) as Record<string, unknown>)
  await Promise.all(containers.map((container) => disconnectNetwork(engine, name, container, { signal })))
}
