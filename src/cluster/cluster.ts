import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { apiServerPort, type BootedCluster, controlPlaneEndpoint } from '../boot/index.ts'
import type { ClusterSpec } from '../config/index.ts'
import type { Engine } from '../engine/index.ts'
import type { Kube } from '../kube/index.ts'
import { adminKubeconfig } from '../pki/index.ts'
import type { StepEvent } from '../progress/index.ts'
import {
  deleteCluster,
  type Labels,
  type Lease,
  makePrivateFolder,
  removePrivateFolder,
} from '../reaper/index.ts'
import { ClusterNode } from './node.ts'

/** What a step of the boot took. */
export interface StepTiming {
  step: string
  durationMs: number
}

interface Belongings {
  lease: Lease | undefined
  steps: readonly StepEvent[]
  labels: Labels
}

/**
 * A cluster that runs. It ends with {@link Cluster.delete}, at the end of its `await using` block, or with the process.
 *
 * @public
 */
export class Cluster implements AsyncDisposable {
  readonly name: string
  readonly spec: ClusterSpec
  /** Kubeconfig for this host; its context is `mayfly-NAME`. */
  readonly kubeconfig: string
  /** The same in a file that only this user can read. `KUBECONFIG` and `~/.kube/config` are never touched. */
  readonly kubeconfigPath: string
  /** Kubeconfig for containers in the cluster's own network, and for its pods. */
  readonly internalKubeconfig: string
  readonly nodes: readonly ClusterNode[]
  /** A connection to the API server. */
  readonly kube: Kube
  /** The steps of the boot and what each took, in the order in which they ended. */
  readonly timings: readonly StepTiming[]

  readonly #engine: Engine
  readonly #lease: Lease | undefined
  readonly #folder: string
  #deleted: Promise<void> | undefined

  private constructor(
    engine: Engine,
    booted: BootedCluster,
    folder: string,
    internalKubeconfig: string,
    { lease, steps }: Belongings,
  ) {
    this.#engine = engine
    this.#lease = lease
    this.#folder = folder
    this.spec = booted.plan.spec
    this.name = this.spec.name
    this.kube = booted.kube
    this.kubeconfig = booted.kubeconfig
    this.kubeconfigPath = join(folder, 'kubeconfig')
    this.internalKubeconfig = internalKubeconfig
    this.nodes = booted.plan.nodes.map((node) => new ClusterNode(engine, node))
    this.timings = steps.flatMap(({ type, step, durationMs }) =>
      type === 'end' && durationMs !== undefined ? [{ step, durationMs }] : [],
    )
  }

  /** @internal */
  static async of(engine: Engine, booted: BootedCluster, belongings: Belongings): Promise<Cluster> {
    const { name } = booted.plan.spec
    const server = `https://${controlPlaneEndpoint(booted.plan)}:${apiServerPort}`
    const [folder, internal] = await Promise.all([
      makePrivateFolder('kubeconfig'),
      adminKubeconfig(booted.authorities, { name, server }),
    ])
    const cluster = new Cluster(engine, booted, folder, internal, belongings)
    await writeFile(cluster.kubeconfigPath, cluster.kubeconfig, { mode: 0o600 })
    return cluster
  }

  /** Deletes the cluster and everything of it. A second call waits for the first. */
  delete(): Promise<void> {
    this.#deleted ??= this.#delete()
    return this.#deleted
  }

  async #delete(): Promise<void> {
    this.kube.close()
    await deleteCluster(this.#engine, this.name)
    await removePrivateFolder(this.#folder)
    await this.#lease?.release()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.delete()
  }
}
