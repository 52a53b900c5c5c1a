import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { type Engine, execOrThrow, type RunningExec } from '../engine/index.ts'
import { MayflyError } from '../errors.ts'
import { type WaitLimits, withinDeadline } from '../wait.ts'
import { startNow, takeEarly } from './early-program.ts'
import { folderOf, type Snapshot } from './snapshot.ts'

/**
 * What `mayfly-node rollback` tells as soon as etcd has the snapshot's state. The twins of these documents are in
 * node-image/mayfly-node/internal/rollback.
 */
export interface Written {
  deleted: number
  written: number
  restarted: string[]
  files: string[]
  gone: string[]
  wanted: string[]
  volumes: string[]
  beforeMs: number
}

/** What it tells at the end. */
export interface Settled {
  pending: string[]
  repeats: number
  gone: string[]
  keys: number
}

/** What `mayfly-node rollback-node` answers. */
export interface NodeDone {
  files: string[]
  ended: number
  volumes: string[]
  pending: string[]
  goneMs: number
  tookMs: number
}

/** The roll-back of etcd, which goes on in a control-plane node. */
export interface Control {
  written: Written
  /** Says that the nodes have ended what they had to, and whether files were put back on any, and waits for the end. */
  end(nodes: { restored: boolean }): Promise<Settled>
  /** Leaves everything as it is now. */
  giveUp(): void
}

/** The command in a node may say for itself that time is up. */
const marginMs = 5000

/** Starts the roll-back of etcd; it is written when this returns. */
export async function startControl(
  engine: Engine,
  node: string,
  snapshot: Snapshot,
  { timeoutMs, signal }: WaitLimits,
): Promise<Control> {
  const limit = withinDeadline({ timeoutMs: timeoutMs + marginMs, signal })
  const begin = (running: RunningExec) => beginControl(running, node, snapshot, timeoutMs)
  const early = await takeEarly(engine, node, limit)
  if (early) {
    try {
      return await begin(early)
    } catch {
      // It may have ended with an earlier life of its node. Nothing is lost: whatever it wrote belongs to the snapshot.
    }
  }
  return begin(await startNow(engine, node, limit))
}

async function beginControl(
  running: RunningExec,
  node: string,
  snapshot: Snapshot,
  timeoutMs: number,
): Promise<Control> {
  const complaint = text(running.stderr)
  complaint.catch(() => undefined)
  running.stdin.write(JSON.stringify({ dir: folderOf(snapshot.name), timeoutMs }))
  const answers = createInterface({ input: running.stdout })[Symbol.asyncIterator]()
  const next = async <T>(): Promise<T> => {
    const { value, done } = await answers.next()
    if (!done) return JSON.parse(value) as T
    await running.exited
    throw new MayflyError(
      'ROLLBACK_FAILED',
      `Cluster ${snapshot.cluster} can't be taken back to snapshot "${snapshot.name}": etcd on ${node} does not take part`,
      { hint: 'Delete the cluster and create a new one', output: await complaint },
    )
  }
  return {
    written: await next<Written>(),
    end(nodes) {
      running.stdin.end(JSON.stringify(nodes))
      return next<Settled>()
    },
    giveUp() {
      running.stdin.end()
    },
  }
}

/** Ends what runs on a node without an object in the API. */
export async function finishNode(
  engine: Engine,
  node: string,
  { name }: Snapshot,
  { gone, wanted, volumes, beforeMs }: Written,
  { timeoutMs, signal }: WaitLimits,
): Promise<NodeDone> {
  const request = { dir: folderOf(name), gone, wanted, volumes, beforeMs, timeoutMs }
  const answer = await execOrThrow(engine, node, ['mayfly-node', 'rollback-node'], {
    stdin: JSON.stringify(request),
    signal,
    timeoutMs: timeoutMs + marginMs,
  })
  return JSON.parse(answer) as NodeDone
}
