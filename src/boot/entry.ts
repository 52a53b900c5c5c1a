import {
  type ContainerSpec,
  createContainer,
  type Engine,
  engineStatus,
  noPrivilege,
  putFiles,
  removeContainer,
  startContainer,
} from '../engine/index.ts'
import { messageOf } from '../errors.ts'
import { label } from '../reaper/index.ts'
import { apiServerMapping, type NodeSurroundings } from './containers.ts'
import { apiServerEndpoint, apiServerPort } from './endpoints.ts'
import { freeHostPort } from './host-ports.ts'
import { type ClusterPlan, controlPlanes } from './plan.ts'

/** Role label of the container that spreads connections over several control planes. */
export const loadBalancerRole = 'load-balancer'

/** Where the load balancer reads what it leads to. */
const backendsFile = '/mayfly/backends.json'

/** Attempts to find a host port that nobody takes in between. */
const attempts = 10

/** Name of a cluster's load balancer. */
export function loadBalancerName({ spec }: Pick<ClusterPlan, 'spec'>): string {
  return `${spec.name}-load-balancer`
}

/** The load balancer of a cluster with several control planes. It is a plain process without any right. */
export function loadBalancerContainer(
  plan: ClusterPlan,
  { labels, network, apiServerHostPort }: NodeSurroundings,
): ContainerSpec {
  const addresses = plan.loadBalancer ?? []
  const [ipv4, ipv6] = [addresses.find((a) => !a.includes(':')), addresses.find((a) => a.includes(':'))]
  return {
    name: loadBalancerName(plan),
    hostname: loadBalancerName(plan),
    image: plan.nodes[0]?.spec.image ?? '',
    entrypoint: [
      '/usr/local/bin/mayfly-node', 'loadbalancer',
      '-listen', `:${apiServerPort}`, '-backends', backendsFile,
    ], // biome-ignore format: a command line
    stopSignal: 'SIGTERM',
    user: '65534:65534',
    healthCheck: false,
    labels: { ...labels, [label.role]: loadBalancerRole },
    privilege: noPrivilege,
    network,
    ...(ipv4 && { ipv4 }),
    ...(ipv6 && { ipv6 }),
    ports: [apiServerMapping(plan, apiServerHostPort)],
    // It ends without a failure when the engine does, and must come back with it. An engine that was killed takes what it
    // then stops for stopped by hand, so "unless-stopped" is not enough (Docker 20.10).
    restart: 'always',
  }
}

/** Starts the load balancer, if the plan has one. */
export async function startLoadBalancer(plan: ClusterPlan, surroundings: NodeSurroundings): Promise<void> {
  if (!plan.loadBalancer) return
  await startOnFreePort(surroundings.engine, plan, async (hostPort) => {
    const container = loadBalancerContainer(plan, { ...surroundings, apiServerHostPort: hostPort })
    await createContainer(surroundings.engine, container)
    await setBackends(surroundings.engine, plan)
    return container.name
  })
}

/** Tells the load balancer, running or not, which control planes there are; it looks at each new connection. */
export async function setBackends(engine: Engine, plan: ClusterPlan): Promise<void> {
  const content = JSON.stringify(
    controlPlanes(plan.nodes).map(({ addresses }) => apiServerEndpoint(addresses)),
  )
  await putFiles(engine, loadBalancerName(plan), [{ path: backendsFile, content }])
}

/**
 * Makes and starts the container that publishes the API server, on a host port that is chosen here: one of the
 * engine's choice would be another one after each restart, and kubeconfigs would lead nowhere.
 *
 * @param make Makes the container with that host port and returns its name
 */
export async function startOnFreePort(
  engine: Engine,
  { spec }: Pick<ClusterPlan, 'spec'>,
  make: (hostPort: number) => Promise<string>,
): Promise<void> {
  const { apiServerPort: wanted, apiServerAddress: host } = spec.networking
  for (let attempt = 1; ; attempt++) {
    const name = await make(wanted || (await freeHostPort(host)))
    try {
      return await startContainer(engine, name)
    } catch (thrown) {
      if (wanted || attempt === attempts || !isPortTaken(thrown)) throw thrown
      await removeContainer(engine, name)
    }
  }
}

function isPortTaken(thrown: unknown): boolean {
  return (
    engineStatus(thrown) === 500 &&
    /port is already allocated|address already in use/i.test(messageOf(thrown))
  )
}
