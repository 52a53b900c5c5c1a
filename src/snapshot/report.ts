/**
 * How a roll-back is done.
 *
 * @public
 */
export interface RollbackOptions {
  /**
   * Waits until nothing of the old state is left and all that the snapshot has is Ready; default true. Without, the call
   * returns when the API shows the snapshot's state, and {@link RollbackReport.settled} tells of the rest.
   */
  settle?: boolean
  /**
   * `cheap` compares etcd with the snapshot key by key at the end; `full` compares every object through the API as well,
   * and needs a snapshot that was taken in this process with `objects: true`. Default `cheap`.
   */
  verify?: 'cheap' | 'full'
  /** Fails when the cluster is not as it was after so many milliseconds; default 60 000. */
  timeoutMs?: number
  signal?: AbortSignal | undefined
}

/**
 * What a roll-back has done by the time when the API shows the snapshot's state.
 *
 * @public
 */
export interface RollbackReport {
  /** Name of the snapshot. */
  snapshot: string
  /**
   * `in-place`: only objects and processes of pods changed. `restart`: files of nodes or whole nodes had to be put back as
   * well, and what reads them was restarted.
   */
  way: 'in-place' | 'restart'
  /** Keys of etcd that were deleted. */
  deleted: number
  /** Keys of etcd that were written. */
  written: number
  /** Pods of the snapshot that were gone or on their way out, as `NAMESPACE/NAME`; they start once more. */
  restartedPods: string[]
  /** From the call until the API showed the snapshot's state. */
  pristineMs: number
  /** What had not come about yet when the call returned; empty unless `settle` is false. */
  pending: string[]
  /**
   * The rest: it ends when the cluster is as it was in every respect. Handled or not, its failure ends no process.
   *
   * @throws MayflyError `ROLLBACK_FAILED`
   */
  settled: Promise<SettledReport>
}

/**
 * What a roll-back has done at its end.
 *
 * @public
 */
export interface SettledReport {
  /** From the call until no container of a pod of the old state was left on any node. */
  processesGoneMs: number
  /** From the call to the end. */
  settledMs: number
  /** How many such pods there were. */
  endedPods: number
  /** Folders of local volumes that were removed, as `NODE:NAME`. */
  removedVolumes: string[]
  /** Files that were put back, as `NODE:PATH`. */
  restoredFiles: string[]
  /** How often something had to be written again, because somebody was still at work on the old state. */
  repeats: number
  /** Keys of etcd that were compared at the end. */
  keys: number
}
