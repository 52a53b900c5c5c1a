import {
  type Abortable,
  type Engine,
  killContainer,
  type Listed,
  listContainers,
  listNetworks,
  listVolumes,
  removeContainer,
  removeNetwork,
  removeVolume,
} from '../engine/index.ts'
import { until } from '../wait.ts'
import { type Labels, label } from './ownership.ts'

/** Everything of ours that an engine has. */
export interface Belongings {
  containers: Listed[]
  networks: Listed[]
  volumes: Listed[]
}

/** Lists the containers, networks and volumes that have all of these labels. */
export async function listBelongings(
  engine: Engine,
  labels: Record<string, string | true>,
  options: Abortable = {},
): Promise<Belongings> {
  const [containers, networks, volumes] = await Promise.all([
    listContainers(engine, labels, options),
    listNetworks(engine, labels, options),
    listVolumes(engine, labels, options),
  ])
  return { containers, networks, volumes }
}

/** Lists what has all labels of any of these sets; no thing may be in two of them. */
export async function listAllBelongings(
  engine: Engine,
  labelSets: readonly Record<string, string | true>[],
  options: Abortable = {},
): Promise<Belongings> {
  const lists = await Promise.all(labelSets.map((labels) => listBelongings(engine, labels, options)))
  return {
    containers: lists.flatMap(({ containers }) => containers),
    networks: lists.flatMap(({ networks }) => networks),
    volumes: lists.flatMap(({ volumes }) => volumes),
  }
}

/** Whether there is nothing. */
export function isEmpty({ containers, networks, volumes }: Belongings): boolean {
  return containers.length + networks.length + volumes.length === 0
}

/**
 * Removes things, without grace: containers at once and concurrently, with their anonymous volumes, then what they
 * used. Others may remove the same things at the same time.
 *
 * @throws the first failure, after everything else was tried
 */
export async function removeBelongings(
  engine: Engine,
  { containers, networks, volumes }: Belongings,
  options: Abortable = {},
): Promise<void> {
  // A container that is dead has left its networks: they go while its file system is taken apart. Podman takes it off
  // them only then, and fails when they have gone by that time (seen in 5.4.2).
  await Promise.allSettled(containers.map(({ id }) => killContainer(engine, id, options)))
  const removals = Promise.allSettled(containers.map(({ id }) => removeContainer(engine, id, options)))
  const areNetworksLeft = engine.kind === 'podman' ? removals : Promise.resolve()
  const outcomes = await Promise.all([
    removals,
    areNetworksLeft.then(() =>
      Promise.allSettled(networks.map(({ id }) => removeNetwork(engine, id, options))),
    ),
    removals.then(() => Promise.allSettled(volumes.map(({ id }) => removeFreedVolume(engine, id, options)))),
  ])
  const failure = outcomes.flat().find((outcome) => outcome.status === 'rejected')
  if (failure) throw failure.reason
}

/** A container whose removal someone else began is gone from lists before it lets go of its volumes. */
async function removeFreedVolume(engine: Engine, id: string, { signal }: Abortable): Promise<void> {
  const remove = async () => removeVolume(engine, id, { signal })
  await until(`volume "${id}" to be free`, remove, { timeoutMs: 10_000, signal })
}

/** Deletes what one creation of a cluster made, and nothing of another one with the same name. */
export async function deleteInstance(
  engine: Engine,
  { [label.instance]: instance = '' }: Labels,
  options: Abortable = {},
): Promise<void> {
  await removeBelongings(
    engine,
    await listBelongings(engine, { [label.instance]: instance }, options),
    options,
  )
}

/**
 * Deletes a cluster: everything that has its name in the label. Nothing happens when there is none, and several may do
 * it at once.
 *
 * @returns What was there
 */
export async function deleteCluster(
  engine: Engine,
  name: string,
  options: Abortable = {},
): Promise<Belongings> {
  const found = await listBelongings(engine, { [label.cluster]: name }, options)
  await removeBelongings(engine, found, options)
  return found
}
