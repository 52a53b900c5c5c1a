import { mkdir, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { adoptNodeImages } from '../adopt/index.ts'
import { bootCluster } from '../boot/index.ts'
import { type ClusterOptions, type ClusterSpec, resolveClusterSpec } from '../config/index.ts'
import {
  connectEngine,
  containerLogs,
  type Engine,
  exec,
  imageExists,
  listContainers,
} from '../engine/index.ts'
import { amended, isMayflyError, MayflyError, messageOf } from '../errors.ts'
import { type ImageSource, loadImages } from '../images/index.ts'
import { createProgress, type Progress, type ProgressMode, type StepEvent } from '../progress/index.ts'
import { deleteInstance, type Labels, type Lease, label, ownership, startWatchdog } from '../reaper/index.ts'
import { assertFits, type SavedCluster, type Snapshot, unpackCluster } from '../snapshot/index.ts'
import { until, withinDeadline } from '../wait.ts'
import { Cluster, type StepTiming } from './cluster.ts'
import { getCluster } from './find.ts'
import { writeRecord } from './record.ts'
import { sweepClusters } from './sweep.ts'
import { writeTrace } from './trace.ts'

/**
 * What cluster to create, and how.
 *
 * @public
 */
export interface CreateClusterOptions extends ClusterOptions {
  /**
   * The state to begin with: a snapshot of a cluster that runs on this engine, or a file that `cluster.saveSnapshot` wrote.
   * Network, feature gates, kubeadm patches and loaded images come with it, and where no nodes are given, as many as the
   * cluster had.
   */
  from?: Snapshot | string | undefined
  /** Gives up when the cluster is not usable after so many milliseconds; default 180 000. */
  timeoutMs?: number
  /** Gives up, and removes what was made, when it is aborted. */
  signal?: AbortSignal
  /** The cluster outlives this process, until it is deleted or expires; default false. */
  keep?: boolean
  /** Milliseconds after which any later run may delete the cluster; default 24 hours, or never with `keep`. */
  ttlMs?: number
  /** A half-made cluster is left as it is when creation fails, to be looked at; default false. */
  retain?: boolean
  /** How progress is shown on standard error; default `auto`: live on a terminal, else a line per step. */
  progress?: ProgressMode
  /** Gets every step as it starts and ends, whatever is shown. */
  onProgress?: (event: StepEvent) => void
  /**
   * Runs beside the rest of the boot as soon as the nodes' containers run, to load images for instance. The cluster is
   * usable when this has ended, and is not made when this fails. The signal fires when the boot fails.
   *
   * @internal
   */
  onNodesStarted?: (nodes: readonly string[], signal: AbortSignal, progress: Progress) => Promise<void>
}

const ownFields = [
  'from',
  'timeoutMs',
  'signal',
  'keep',
  'ttlMs',
  'retain',
  'progress',
  'onProgress',
  'onNodesStarted',
] as const

/** Time for a cluster to become usable, in milliseconds. Generous: only a broken boot takes it. */
const defaultTimeoutMs = 180_000

/**
 * Creates a cluster and waits until it is usable: every node Ready, every pod that it brings Ready, DNS answering,
 * the default ServiceAccount and StorageClass there. The cluster goes when it is deleted, when it leaves its
 * `await using` block, or, however it ends, with this process.
 *
 * @example
 * await using cluster = await createCluster({ nodes: ['control-plane', 'worker', 'worker'] })
 *
 * @throws MayflyError `CONFIG_INVALID`, `SNAPSHOT_UNFIT`, `ENGINE_NOT_FOUND`, `HOST_UNFIT`, `NODE_IMAGE_MISSING`, `CLUSTER_EXISTS` before
 *   anything is made; `WAIT_TIMED_OUT`, `NODE_EXITED`, `ENGINE_REFUSED` after all that was made is removed again
 * @public
 */
export async function createCluster(options: CreateClusterOptions = {}): Promise<Cluster> {
  const { timeoutMs = defaultTimeoutMs, keep = false, ttlMs, retain = false } = options
  // For all of it; each wait below may take what is left.
  const signal = withinDeadline({ timeoutMs, signal: options.signal })
  const progress = createProgress({ mode: options.progress, onEvent: options.onProgress })
  const saved = await openSaved(options)
  const spec = await specOf(options, saved)
  const engine = await connectEngine({ signal })
  if (saved) await assertFits(engine, saved, spec, sourceName(options))
  const labels = ownership(spec.name, { ttlMs, keep, retain })
  // Before the first thing exists there is somebody who removes it.
  const lease = await startWatchdog(engine, keep && !retain ? { making: labels[label.instance] } : {})
  try {
    await Promise.all([reportSweep(engine, progress), assertNameIsFree(engine, spec)])
  } catch (thrown) {
    await lease.release()
    throw thrown
  }
  try {
    const adopted = await adoptNodeImages(engine, spec, { progress, labels, signal })
    const booted = await bootCluster(adopted, {
      engine,
      labels,
      progress,
      base: saved?.base,
      timeoutMs,
      signal,
      onNodesStarted: async (nodes, limit) => {
        await Promise.all([
          saved && !spec.controlPlaneOnly && loadSaved(engine, saved, nodes, progress, limit),
          options.onNodesStarted?.(nodes, limit, progress),
        ])
      },
    })
    await writeTrace(spec.name, progress.events)
    const { plan, snapshot, kubeconfig, kube } = booted
    await writeRecord(engine, { plan, snapshot })
    if (keep) await lease.release()
    const timings = timingsOf(progress)
    return await Cluster.of({ engine, plan, snapshot, kubeconfig, kube, timings, lease })
  } catch (thrown) {
    throw await rollBack(engine, labels, thrown, { retain, lease })
  }
}

/** What a cluster is to be made of, where that is asked for. */
async function openSaved({ from, signal }: CreateClusterOptions): Promise<SavedCluster | undefined> {
  if (from === undefined) return undefined
  if (typeof from === 'string') return unpackCluster(from)
  await using cluster = await getCluster(from.cluster, signal ? { signal } : {})
  return cluster.exportSnapshot(from, signal)
}

function withConfigOf({ config }: SavedCluster, options: CreateClusterOptions): CreateClusterOptions {
  const { nodes, ...rest } = config
  return {
    ...rest,
    // A configuration file names its nodes itself.
    ...(options.config === undefined && nodes && { nodes }),
    ...options,
    networking: { ...config.networking, ...options.networking },
  }
}

/** Brings the images that a saved cluster had to nodes that are made of it. */
async function loadSaved(
  engine: Engine,
  { images }: SavedCluster,
  nodes: readonly string[],
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  const found = await Promise.all(
    images.map(
      async (image) => image.archive !== undefined || (await imageExists(engine, image.id, { signal })),
    ),
  )
  for (const { names } of images.filter((_, at) => !found[at])) {
    progress.note(
      `Image ${names.join(', ')} of the snapshot is not on the nodes: the engine does not have it any more`,
    )
  }
  const sources = images
    .filter((_, at) => found[at])
    .flatMap(({ id, names, archive }): ImageSource[] =>
      archive === undefined ? [{ id, names }] : names.map((name) => ({ archive, name })),
    )
  const targets = nodes.map((name) => ({ name, containerId: name }))
  await loadImages(engine, targets, sources, { signal })
}

function sourceName({ from = '' }: CreateClusterOptions): string {
  return typeof from === 'string' ? `Snapshot ${from}` : `Snapshot "${from.name}" of cluster ${from.cluster}`
}

/**
 * The complete configuration of what {@link createCluster} would create. Without a name among the options it has another each time.
 *
 * @throws MayflyError `CONFIG_INVALID`, `CONFIG_UNREADABLE`, `SNAPSHOT_UNFIT`
 */
export async function clusterSpecOf(options: CreateClusterOptions): Promise<ClusterSpec> {
  return specOf(options, await openSaved(options))
}

function specOf(options: CreateClusterOptions, saved: SavedCluster | undefined): Promise<ClusterSpec> {
  return resolveClusterSpec(saved ? withConfigOf(saved, options) : options, { otherFields: ownFields })
}

function timingsOf({ events }: Progress): StepTiming[] {
  return events.flatMap(({ type, step, durationMs }) =>
    type === 'end' && durationMs !== undefined ? [{ step, durationMs }] : [],
  )
}

/** What others left and the engine can't remove (Docker keeps endpoints of containers that are gone, now and then) hinders nobody. */
async function reportSweep(engine: Engine, progress: Progress): Promise<void> {
  try {
    for (const { cluster, reason } of await sweepClusters(engine))
      progress.note(`Removed cluster ${cluster}: ${reason}`)
  } catch (thrown) {
    progress.note(`What an earlier process left can't be removed: ${messageOf(thrown)}`)
  }
}

async function assertNameIsFree(engine: Engine, { name }: ClusterSpec): Promise<void> {
  const taken = await listContainers(engine, { [label.cluster]: name })
  if (taken.length === 0) return
  throw new MayflyError(
    'CLUSTER_EXISTS',
    `There is a cluster named "${name}" already, with node ${taken[0]?.name}`,
    {
      hint: `Choose another name, or delete it with \`npx mayfly delete cluster --name ${name}\``,
    },
  )
}

/** Removes a half-made cluster after saving what its nodes had to say, and returns the error to throw. */
async function rollBack(
  engine: Engine,
  labels: Labels,
  thrown: unknown,
  { retain, lease }: { retain: boolean; lease: Lease },
): Promise<unknown> {
  const logs = await saveBootLogs(engine, labels).catch(() => undefined)
  const where = logs === undefined ? [] : [`The logs of its nodes are in ${logs}`]
  if (retain) return withHint(thrown, [...where, 'The half-made cluster was kept, as asked'])
  try {
    // An engine that is being restarted is back within seconds; nothing may be left of this cluster then.
    const remove = async () => {
      await deleteInstance(engine, labels)
      return true
    }
    await until('the half-made cluster to be removed', remove, { timeoutMs: 20_000, intervalMs: 500 })
    await lease.release()
  } catch (cleanup) {
    return new AggregateError(
      [thrown, cleanup],
      `${messageOf(thrown)}\nand cleaning up failed: ${messageOf(cleanup)}`,
    )
  }
  return withHint(thrown, where)
}

function withHint(thrown: unknown, more: readonly string[]): unknown {
  if (!isMayflyError(thrown) || more.length === 0) return thrown
  return amended(thrown, { hint: [thrown.hint, ...more].filter(Boolean).join('. ') })
}

/** Writes each node's console and journal below `.mayfly/`, before the node goes. */
async function saveBootLogs(engine: Engine, labels: Labels): Promise<string | undefined> {
  const instance = labels[label.instance] ?? ''
  const containers = await listContainers(engine, { [label.instance]: instance })
  if (containers.length === 0) return undefined
  const dir = resolve('.mayfly', 'failed', labels[label.cluster] ?? '')
  await mkdir(dir, { recursive: true })
  await Promise.all(
    containers.map(async (container) => {
      await writeFile(join(dir, `${container.name}.console.log`), await containerLogs(engine, container.id))
      if (container.state !== 'running') return
      const journal = await exec(
        engine,
        container.id,
        ['journalctl', '--no-pager', '--output=short-precise'],
        { timeoutMs: 10_000 },
      )
      await writeFile(join(dir, `${container.name}.journal.log`), journal.stdout)
    }),
  )
  return dir
}
