import { resolve } from 'node:path'
import { loadBalancerName } from '../boot/index.ts'
import { connectEngine, type Engine, type ListedContainer, listContainers } from '../engine/index.ts'
import { isMayflyError, MayflyError } from '../errors.ts'
import { label } from '../reaper/index.ts'
import { Cluster } from './cluster.ts'
import { collectLogs } from './export-logs.ts'
import { readKubeconfig, readRecord } from './record.ts'

/**
 * What a cluster is up to: `creating` until it has been usable once (or forever, when its creation was broken off),
 * then `ready` while all its containers run, `stopped` while none does, else `degraded`.
 *
 * @public
 */
export type ClusterStatus = 'creating' | 'ready' | 'degraded' | 'stopped'

/**
 * A cluster on this engine, whoever made it.
 *
 * @public
 */
export interface ListedCluster {
  name: string
  status: ClusterStatus
  /** State is the engine's word: `running`, `paused`, `exited` and so on. */
  nodes: { name: string; role: string; state: string }[]
  /** It outlives the process that made it. */
  kept: boolean
  /** When any later run may delete it, as an ISO time, or `never`. */
  expires: string
}

/**
 * Lists the clusters of all processes on this engine, by name.
 *
 * @public
 */
export async function listClusters({ signal }: { signal?: AbortSignal } = {}): Promise<ListedCluster[]> {
  const engine = await connectEngine({ signal })
  const containers = await listContainers(engine, { [label.cluster]: true, [label.role]: true }, { signal })
  const clusters = Map.groupBy(containers, ({ labels }) => labels[label.cluster] ?? '')
  const listed = [...clusters].map(async ([name, belongings]): Promise<ListedCluster[]> => {
    const nodes = belongings.filter(isNode)
    const [first] = nodes
    if (!first) return []
    return [
      {
        name,
        status: await statusOf(engine, belongings),
        nodes: nodes
          .map(({ name: node, labels, state }) => ({ name: node, role: labels[label.role] ?? '', state }))
          .sort((one, other) => one.name.localeCompare(other.name, 'en', { numeric: true })),
        kept: first.labels[label.keep] === 'true',
        expires: first.labels[label.expires] ?? 'never',
      },
    ]
  })
  return (await Promise.all(listed)).flat().sort((one, other) => one.name.localeCompare(other.name))
}

/**
 * A handle of a cluster that any process made and that has been usable. The end of an `await using` block lets it go and
 * does not delete it.
 *
 * @throws MayflyError `CLUSTER_NOT_FOUND` when there is none, `CLUSTER_UNFIT` when it is half-made
 * @public
 */
export async function getCluster(name: string, { signal }: { signal?: AbortSignal } = {}): Promise<Cluster> {
  const engine = await connectEngine({ signal })
  const containers = await listContainers(engine, { [label.cluster]: name }, { signal })
  const nodes = containers.filter(isNode)
  if (nodes.length === 0) {
    const others = (await listClusters({ ...(signal && { signal }) })).map((cluster) => cluster.name)
    throw new MayflyError('CLUSTER_NOT_FOUND', `${engine.describe()} has no cluster named "${name}"`, {
      hint: others.length > 0 ? `It has ${others.join(', ')}` : 'It has none at all; create one',
    })
  }
  const record = await readRecord(engine, controlPlanesOf(nodes))
  if (!record) {
    throw new MayflyError('CLUSTER_UNFIT', `Cluster "${name}" is not ready: its creation has not ended`, {
      hint: `Wait for it, or delete it with \`npx mayfly delete cluster --name ${name}\``,
    })
  }
  const { plan, snapshot } = record
  const kubeconfig = await readKubeconfig(engine, plan)
  return Cluster.of({ engine, plan, snapshot, kubeconfig, found: true })
}

/**
 * {@link Cluster.exportLogs} for a cluster of any process, also for one whose creation failed.
 *
 * @returns The folder's absolute path
 * @throws MayflyError `CLUSTER_NOT_FOUND`
 * @public
 */
export async function exportLogs(
  name: string,
  dir: string,
  { signal }: { signal?: AbortSignal } = {},
): Promise<string> {
  try {
    await using cluster = await getCluster(name, { ...(signal && { signal }) })
    return await cluster.exportLogs(dir, { ...(signal && { signal }) })
  } catch (thrown) {
    if (!isMayflyError(thrown) || thrown.code !== 'CLUSTER_UNFIT') throw thrown
    const folder = resolve(dir)
    await collectLogs(folder, { engine: await connectEngine({ signal }), name, signal })
    return folder
  }
}

async function statusOf(engine: Engine, containers: readonly ListedContainer[]): Promise<ClusterStatus> {
  const record = await readRecord(engine, controlPlanesOf(containers))
  if (!record) return 'creating'
  // Others may run containers with this cluster's name in the label too, to hold images for it.
  const { plan } = record
  const expected = plan.nodes.map(({ spec }) => spec.name)
  if (plan.loadBalancer) expected.push(loadBalancerName(plan))
  const running = containers.filter(({ name, state }) => expected.includes(name) && state === 'running')
  if (running.length === 0) return 'stopped'
  return running.length === expected.length ? 'ready' : 'degraded'
}

function isNode({ labels }: ListedContainer): boolean {
  return ['control-plane', 'worker'].includes(labels[label.role] ?? '')
}

function controlPlanesOf(containers: readonly ListedContainer[]): string[] {
  return containers.filter(({ labels }) => labels[label.role] === 'control-plane').map(({ name }) => name)
}
