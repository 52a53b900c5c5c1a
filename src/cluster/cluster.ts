import { rmSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { adoptNodeImages } from '../adopt/index.ts'
import {
  apiServerPort,
  type BaseSnapshot,
  type ClusterPlan,
  connectAsAdmin,
  controlPlaneEndpoint,
  controlPlaneNames,
  joinNode,
  loadBalancerName,
  networkName,
  placeBehindLoadBalancer,
  removeNode,
  waitUntilUsable,
} from '../boot/index.ts'
import {
  type ClusterSpec,
  type NodeOptions,
  type NodeRole,
  type NodeSpec,
  resolveClusterSpec,
} from '../config/index.ts'
import {
  type Engine,
  type ExecResult,
  inspectContainer,
  startContainer,
  stopContainer,
} from '../engine/index.ts'
import { MayflyError } from '../errors.ts'
import { type ImageLoadReport, type ImageSource, type LoadOptions, loadImages } from '../images/index.ts'
import {
  assertPodsRun,
  connectKube,
  type Kube,
  type ObjectRef,
  type PortForward,
  type PortForwardOptions,
  portForward,
} from '../kube/index.ts'
import { createProgress } from '../progress/index.ts'
import { deleteCluster, type Lease, makePrivateFolder, removePrivateFolder } from '../reaper/index.ts'
import {
  latestSnapshot,
  packCluster,
  type RollbackOptions,
  type RollbackReport,
  rollBack,
  type SavedCluster,
  type SaveOptions,
  type Snapshot,
  type SnapshotOptions,
  saveCluster,
  snapshotNamed,
  takeSnapshot,
} from '../snapshot/index.ts'
import type { WaitLimits } from '../wait.ts'
import { collectLogs } from './export-logs.ts'
import { findKubectl, type KubectlOptions, runKubectl } from './kubectl.ts'
import { ClusterNode, type StartOptions, type StopOptions } from './node.ts'
import { readClusterAuthorities, readOwnLabels, writeRecord } from './record.ts'

/**
 * What a step of the boot took.
 *
 * @public
 */
export interface StepTiming {
  step: string
  durationMs: number
}

/** What a handle is made from. */
export interface ClusterParts {
  engine: Engine
  plan: ClusterPlan
  snapshot: BaseSnapshot
  /** For the host. */
  kubeconfig: string
  /** A connection with that kubeconfig; default: a new one. */
  kube?: Kube
  timings?: readonly StepTiming[]
  /** The promise to clean up, where this process made the cluster and it is not kept. */
  lease?: Lease | undefined
  /** Somebody else made the cluster: the end of an `await using` block does not delete it. */
  found?: boolean
}

/**
 * A node to add: the fields of a node of the configuration.
 *
 * @public
 */
export interface AddNodeOptions extends Omit<NodeOptions, 'role'>, StartOptions {
  /** Default `worker`. */
  role?: NodeRole
}

/** Time for nodes to become usable, in milliseconds. Generous: only a broken node takes it. */
const defaultTimeoutMs = 120_000

/**
 * A cluster that runs. It ends with {@link Cluster.delete}, at the end of its `await using` block, or with the process.
 *
 * @public
 */
export class Cluster implements AsyncDisposable {
  readonly name: string
  /** {@link Cluster.kubeconfig} in a file that only this user can read. `KUBECONFIG` and `~/.kube/config` are never touched. */
  readonly kubeconfigPath: string
  /** The steps of the boot and what each took, in the order in which they ended; none for a cluster that was found. */
  readonly timings: readonly StepTiming[]

  readonly #engine: Engine
  readonly #snapshot: BaseSnapshot
  readonly #lease: Lease | undefined
  readonly #found: boolean
  readonly #folder: string
  #plan: ClusterPlan
  #kubeconfig: string
  #kubes: readonly [Kube, ...Kube[]]
  #changing: Promise<unknown> = Promise.resolve()
  #nodes: readonly ClusterNode[]
  #deleted: Promise<void> | undefined
  readonly #removeFolderAtExit = () => rmSync(this.#folder, { recursive: true, force: true })

  private constructor(parts: ClusterParts, folder: string) {
    this.#engine = parts.engine
    this.#plan = parts.plan
    this.#snapshot = parts.snapshot
    this.#lease = parts.lease
    this.#found = parts.found ?? false
    this.#folder = folder
    this.#nodes = parts.plan.nodes.map((node) => this.#nodeOf(node))
    this.name = parts.plan.spec.name
    const { controlPlaneOnly } = parts.plan.spec
    this.#kubes = [parts.kube ?? connectKube(parts.kubeconfig, { controlPlaneOnly })]
    this.#kubeconfig = parts.kubeconfig
    this.kubeconfigPath = join(folder, 'kubeconfig')
    this.timings = parts.timings ?? []
  }

  /** @internal */
  static async of(parts: ClusterParts): Promise<Cluster> {
    const cluster = new Cluster(parts, await makePrivateFolder('kubeconfig'))
    await writeFile(cluster.kubeconfigPath, cluster.kubeconfig, { mode: 0o600 })
    // The watchdog does it for others, and later; without one, this process has to.
    process.once('exit', cluster.#removeFolderAtExit)
    return cluster
  }

  /**
   * Kubeconfig for this host; its context is `mayfly-NAME`. It stays valid when the cluster or the engine is stopped
   * and started. With a second control plane it becomes another one, which leads to the load balancer.
   */
  get kubeconfig(): string {
    return this.#kubeconfig
  }

  /** Kubeconfig for containers in the cluster's own network, and for its pods. */
  get internalKubeconfig(): string {
    const endpoint = bracketed(controlPlaneEndpoint(this.#plan))
    return this.#kubeconfig.replace(/server: .*/, `server: https://${endpoint}:${apiServerPort}`)
  }

  /** A connection to the API server, with {@link Cluster.kubeconfig}. */
  get kube(): Kube {
    return this.#kubes[0]
  }

  /** The configuration, complete, with the nodes that the cluster has now. */
  get spec(): ClusterSpec {
    return this.#plan.spec
  }

  /** It has no nodes, only a control plane in one container, and no pod ever runs in it. */
  get controlPlaneOnly(): boolean {
    return this.spec.controlPlaneOnly ?? false
  }

  /** The nodes that the cluster has now, in the order of the configuration. */
  get nodes(): readonly ClusterNode[] {
    return this.#nodes
  }

  /**
   * The node with a name.
   *
   * @throws MayflyError `CONFIG_INVALID` when there is none
   */
  node(name: string): ClusterNode {
    const node = this.#nodes.find((one) => one.name === name)
    if (node) return node
    const names = this.#nodes.map((one) => one.name).join(', ')
    throw new MayflyError('CONFIG_INVALID', `Cluster ${this.name} has no node "${name}", only ${names}`)
  }

  /**
   * Adds a node and waits until pods can run on it. The second control plane brings a load balancer with it, and
   * {@link Cluster.kubeconfig} and {@link Cluster.kube} lead there from then on; those from before lead to the first
   * control plane, whose etcd, controller manager and scheduler start anew for it.
   *
   * @throws MayflyError `CONTROL_PLANE_ONLY`, `CONFIG_INVALID`, `WAIT_TIMED_OUT`, `ENGINE_REFUSED`; the node is removed again
   */
  addNode({ timeoutMs = defaultTimeoutMs, signal, ...options }: AddNodeOptions = {}): Promise<ClusterNode> {
    return this.#inTurn(async () => {
      assertPodsRun(this.kube, 'add a node')
      const { role = 'worker' } = options
      const name = options.name ?? this.#freeName(role)
      if (this.#nodes.some((node) => node.name === name)) {
        throw new MayflyError('CONFIG_INVALID', `Cluster ${this.name} has a node "${name}" already`)
      }
      const image = options.image ?? this.spec.nodes[0]?.image
      const resolved = await resolveClusterSpec({
        name: this.name,
        nodes: ['control-plane', { ...options, role, name, image }],
        networking: { ipFamily: this.spec.networking.ipFamily },
      })
      const progress = createProgress({ mode: 'silent' })
      const labels = await readOwnLabels(this.#engine, this.name)
      const { nodes } = await adoptNodeImages(this.#engine, resolved, { progress, labels, signal })
      const spec = nodes[1]
      if (!spec) throw new Error('a configuration lost its node')
      return this.#join(spec, { timeoutMs, signal })
    })
  }

  async #join(spec: NodeSpec, limits: WaitLimits): Promise<ClusterNode> {
    const [authorities, labels] = await Promise.all([
      readClusterAuthorities(this.#engine, this.#plan),
      readOwnLabels(this.#engine, this.name),
    ])
    if (spec.role === 'control-plane' && !this.#plan.loadBalancer) {
      await this.#setPlan(
        await placeBehindLoadBalancer(this.#plan, { engine: this.#engine, labels, ...limits }),
      )
      const { kube, kubeconfig } = await connectAsAdmin(this.#engine, this.#plan, authorities)
      // Whoever has the connection from before may go on with it.
      this.#kubes = [kube, ...this.#kubes]
      this.#kubeconfig = kubeconfig
      await writeFile(this.kubeconfigPath, kubeconfig, { mode: 0o600 })
    }
    const joined = await joinNode(this.#plan, spec, networkName(this.spec), {
      engine: this.#engine,
      kube: this.kube,
      labels,
      snapshot: this.#snapshot,
      authorities,
      ...limits,
    })
    await this.#setPlan(joined)
    return this.node(spec.name)
  }

  /**
   * Takes a node away, as a machine that is switched off for good: its container, its Node object and its pods, which
   * their controllers make anew elsewhere. A control plane leaves etcd first, which needs most control planes to run,
   * itself counted.
   *
   * @param options.timeoutMs Default 120 000
   * @throws MayflyError `CONFIG_INVALID` for the last control plane, or when there is no such node; `EXEC_FAILED` when
   *   etcd does not let it go
   */
  removeNode(
    name: string,
    { timeoutMs = defaultTimeoutMs, signal }: Partial<WaitLimits> = {},
  ): Promise<void> {
    return this.#inTurn(() => this.#remove(this.node(name).name, { timeoutMs, signal }))
  }

  async #remove(name: string, limits: WaitLimits): Promise<void> {
    await this.#setPlan(
      await removeNode(this.#plan, name, { engine: this.#engine, kube: this.kube, ...limits }),
    )
  }

  /** What changes the plan: each begins where the one before has ended. */
  #inTurn<T>(change: () => Promise<T>): Promise<T> {
    const turn = this.#changing.then(change)
    this.#changing = turn.catch(() => undefined)
    return turn
  }

  async #setPlan(plan: ClusterPlan): Promise<void> {
    this.#plan = plan
    const known = new Map(this.#nodes.map((node) => [node.name, node]))
    this.#nodes = plan.nodes.map((planned) => known.get(planned.spec.name) ?? this.#nodeOf(planned))
    await writeRecord(this.#engine, { plan, snapshot: this.#snapshot })
  }

  /** Shuts all nodes down. Everything stays as it is on their disks, until {@link Cluster.start}. */
  async stop({ graceSeconds = 10, signal }: StopOptions = {}): Promise<void> {
    await Promise.all(
      this.#containers().map((name) => stopContainer(this.#engine, name, { graceSeconds, signal })),
    )
  }

  /**
   * Starts all nodes that are stopped, and waits until the cluster is usable. Its kubeconfig is still the same.
   *
   * @throws MayflyError `WAIT_TIMED_OUT` with what is not ready and why
   */
  async start(options: StartOptions = {}): Promise<void> {
    const { signal } = options
    await Promise.all(this.#containers().map((name) => startContainer(this.#engine, name, { signal })))
    await this.#awaitUsable(undefined, options)
  }

  /**
   * Saves the state of the cluster, to be taken back to it by {@link Cluster.rollback}. It waits until controllers are at
   * rest: everything that the state leads to is in it.
   *
   * @param name Default: one of its own. An older snapshot of that name is replaced
   * @throws MayflyError `CONFIG_INVALID` for a name that is none, `EXEC_FAILED`
   */
  snapshot(name?: string, options: SnapshotOptions = {}): Promise<Snapshot> {
    return takeSnapshot(this.#snapshotTarget(), name, options)
  }

  /**
   * Takes the cluster back to a snapshot while it runs: every object of the API, and what follows from them. Pods that
   * came since are killed, local volumes and nodes that came since are removed, what was deleted or changed comes back.
   * Loaded images stay. Nobody may go on writing to the cluster meanwhile.
   *
   * @param snapshot A snapshot of this cluster, or its name; default: the last one
   * @throws MayflyError `SNAPSHOT_NOT_FOUND`; `ROLLBACK_FAILED` when the cluster can't be brought back, and a new one is
   *   needed; `CONFIG_INVALID` when there is nothing that `verify: 'full'` could compare with
   */
  async rollback(snapshot?: Snapshot | string, options: RollbackOptions = {}): Promise<RollbackReport> {
    const wanted = await this.#snapshotOf(snapshot)
    const prepare = async () => {
      await this.#inTurn(() => this.#restoreNodes(wanted, options))
      return this.#snapshotTarget()
    }
    return rollBack(prepare, wanted, options)
  }

  /**
   * Writes a snapshot to a file that other clusters can be made of, with `createCluster({ from: file })`, on any machine of
   * this architecture. Images that the nodes have now come along. No key of this cluster is in it; Secrets that were
   * installed are. Data in volumes is not.
   *
   * @param snapshot A snapshot of this cluster, or its name; default: the last one
   * @throws MayflyError `SNAPSHOT_NOT_FOUND`, `EXEC_FAILED`, `IMAGE_NOT_FOUND`
   */
  async saveSnapshot(file: string, snapshot?: Snapshot | string, options: SaveOptions = {}): Promise<void> {
    const saved = await this.exportSnapshot(await this.#snapshotOf(snapshot), options.signal)
    await packCluster(this.#engine, saved, file, options)
  }

  /** @internal */
  exportSnapshot(snapshot: Snapshot, signal?: AbortSignal): Promise<SavedCluster> {
    return saveCluster({ ...this.#snapshotTarget(), base: this.#snapshot, signal }, snapshot)
  }

  /** Gives the cluster the nodes back that it had, and takes those away that came since. */
  async #restoreNodes({ nodes }: Snapshot, options: RollbackOptions): Promise<void> {
    const { signal, timeoutMs = defaultTimeoutMs } = options
    const added = this.#nodes.filter(({ name }) => nodes.every((node) => node.name !== name))
    for (const { name } of added) await this.#remove(name, { timeoutMs, signal })
    const removed = nodes.filter(({ name }) => this.#nodes.every((node) => node.name !== name))
    for (const spec of removed) await this.#join(spec, { timeoutMs, signal })
  }

  async #snapshotOf(snapshot: Snapshot | string | undefined): Promise<Snapshot> {
    const [controlPlane = ''] = controlPlaneNames(this.#plan)
    if (snapshot === undefined) return latestSnapshot(this.#engine, controlPlane)
    return typeof snapshot === 'string' ? snapshotNamed(this.#engine, controlPlane, snapshot) : snapshot
  }

  #snapshotTarget() {
    return { engine: this.#engine, plan: this.#plan, kube: this.kube }
  }

  /**
   * Loads images onto nodes: names of the engine's images, archives, or what to build.
   *
   * @param options.nodes Names of nodes; default all
   */
  async loadImages(
    sources: readonly ImageSource[],
    { nodes: names, ...options }: LoadOptions & { nodes?: readonly string[] } = {},
  ): Promise<ImageLoadReport> {
    assertPodsRun(this.kube, 'load images')
    const nodes = await Promise.all(
      (names?.map((name) => this.node(name)) ?? this.#nodes).map(async ({ name }) => {
        const { Id } = await inspectContainer(this.#engine, name, { signal: options.signal })
        return { name, containerId: Id }
      }),
    )
    return loadImages(this.#engine, nodes, sources, options)
  }

  /**
   * Opens a port on 127.0.0.1 that leads to a port of a pod, or of a pod behind a Service, Deployment or the like.
   *
   * @param target For instance `{ kind: 'Service', name: 'web', namespace: 'shop' }`
   * @param port A number, or the name of a port
   */
  portForward(
    target: ObjectRef,
    port: number | string,
    options: PortForwardOptions = {},
  ): Promise<PortForward> {
    return portForward(this.kube, target, port, options)
  }

  /**
   * Runs kubectl against this cluster: this host's or, where it has none, the node image's own.
   *
   * @param args What comes after `kubectl`
   * @throws MayflyError `EXEC_FAILED` with what it printed, unless `reject` is false
   */
  async kubectl(args: readonly string[], options: KubectlOptions = {}): Promise<ExecResult> {
    const [{ name = '' } = {}] = this.#nodes
    const kubectl = await findKubectl(this.#engine, name, this.#snapshot.manifest.kubernetes)
    return runKubectl(kubectl, this.kubeconfigPath, args, options)
  }

  /**
   * Collects what `kind export logs` collects, and the API's objects (Secrets without their values) and events, below a
   * folder: a folder for each node, `objects/NAMESPACE/KIND.yaml`, `events.txt`. Works on a broken cluster as well;
   * `missing.txt` then says what could not be had.
   *
   * @returns The folder's absolute path
   */
  async exportLogs(dir: string, { signal }: { signal?: AbortSignal } = {}): Promise<string> {
    const folder = resolve(dir)
    await collectLogs(folder, { engine: this.#engine, kube: this.kube, name: this.name, signal })
    return folder
  }

  /**
   * Deletes the cluster and everything of it. A second call waits for the first, or tries again when that failed.
   *
   * @throws MayflyError `ENGINE_LOST`, `ENGINE_REFUSED`
   */
  delete(): Promise<void> {
    this.#deleted ??= this.#delete().catch((thrown: unknown) => {
      this.#deleted = undefined
      throw thrown
    })
    return this.#deleted
  }

  async #delete(): Promise<void> {
    for (const kube of this.#kubes) kube.close()
    await deleteCluster(this.#engine, this.name)
    await this.#letGo()
    await this.#lease?.release()
  }

  /** Deletes the cluster; one that was only found is let go instead. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#found) return this.delete()
    for (const kube of this.#kubes) kube.close()
    await this.#letGo()
  }

  async #letGo(): Promise<void> {
    process.off('exit', this.#removeFolderAtExit)
    await removePrivateFolder(this.#folder)
  }

  #nodeOf(planned: ClusterPlan['nodes'][number]): ClusterNode {
    return new ClusterNode(this.#engine, planned, (names, options) => this.#awaitUsable(names, options))
  }

  async #awaitUsable(
    only: readonly string[] | undefined,
    { timeoutMs = defaultTimeoutMs, signal }: StartOptions,
  ): Promise<void> {
    await waitUntilUsable(this.#engine, this.#plan, this.kube, { timeoutMs, signal }, only ? { only } : {})
  }

  #containers(): string[] {
    const names = this.#nodes.map(({ name }) => name)
    return this.#plan.loadBalancer ? [...names, loadBalancerName(this.#plan)] : names
  }

  #freeName(role: string): string {
    const taken = new Set(this.#nodes.map(({ name }) => name))
    for (let count = 1; ; count++) {
      const name = `${this.name}-${role}${count === 1 ? '' : count}`
      if (!taken.has(name)) return name
    }
  }
}

/** An address as it stands before a port. */
function bracketed(address: string): string {
  return address.includes(':') ? `[${address}]` : address
}
