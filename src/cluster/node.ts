import type { PlannedNode } from '../boot/index.ts'
import type { NodeRole } from '../config/index.ts'
import {
  containerLogs,
  type Engine,
  type ExecOptions,
  type ExecResult,
  exec,
  pauseContainer,
  startContainer,
  stopContainer,
  unpauseContainer,
} from '../engine/index.ts'
import type { WaitLimits } from '../wait.ts'
import { readNodeFile, writeNodeFile } from './node-files.ts'

/**
 * How long a wait for a started node may take.
 *
 * @public
 */
export interface StartOptions extends Partial<WaitLimits> {
  /** Gives up after so many milliseconds; default 120 000. */
  timeoutMs?: number
}

/**
 * How a node is stopped.
 *
 * @public
 */
export interface StopOptions {
  /** Seconds that its processes may take to end before they are killed; default 10, 0 is a power cut. */
  graceSeconds?: number
  signal?: AbortSignal | undefined
}

/** Waits until nodes that were started are usable. */
export type AwaitUsable = (nodes: readonly string[], options: StartOptions) => Promise<void>

/**
 * A node of a cluster: a container of the engine's.
 *
 * @public
 */
export class ClusterNode {
  /** Name of the container, the host and the Node object. */
  readonly name: string
  readonly role: NodeRole
  /** Addresses in the cluster's network, primary family first. */
  readonly addresses: readonly string[]
  readonly #engine: Engine
  readonly #awaitUsable: AwaitUsable

  /** @internal */
  constructor(
    engine: Engine,
    { spec, addresses }: PlannedNode,
    awaitUsable: AwaitUsable = async () => undefined,
  ) {
    this.#engine = engine
    this.#awaitUsable = awaitUsable
    this.name = spec.name
    this.role = spec.role
    this.addresses = addresses
  }

  /** Runs a command in the node. A command that fails is no error here: its exit code is in the result. */
  exec(
    argv: readonly string[],
    options: ExecOptions & { stdin?: string | Uint8Array } = {},
  ): Promise<ExecResult> {
    return exec(this.#engine, this.name, argv, options)
  }

  /** What the node's init system printed so far. */
  logs(options: { tail?: number } = {}): Promise<string> {
    return containerLogs(this.#engine, this.name, options)
  }

  /**
   * Reads a file of the node: as its processes see it, or as it lies on the disk of a node that is stopped or paused.
   *
   * @throws MayflyError `EXEC_FAILED` with the reason, such as that there is no such file
   */
  readFile(path: string): Promise<Buffer> {
    return readNodeFile(this.#engine, this.name, path)
  }

  /**
   * Writes a file of the node, running or not; missing folders are made. What is written to `/run` or `/tmp` while the
   * node is stopped is lost.
   *
   * @param options.mode Permission bits, default 0o644
   * @throws MayflyError `EXEC_FAILED` with the reason when the file can't be written
   */
  writeFile(
    path: string,
    content: string | Uint8Array,
    { mode = 0o644 }: { mode?: number } = {},
  ): Promise<void> {
    return writeNodeFile(this.#engine, this.name, { path, content, mode })
  }

  /** Freezes every process of the node, as a machine that hangs. */
  pause(): Promise<void> {
    return pauseContainer(this.#engine, this.name)
  }

  /** Lets a paused node go on. */
  unpause(): Promise<void> {
    return unpauseContainer(this.#engine, this.name)
  }

  /** Shuts the node down, as a machine. Its disk stays. Does nothing to one that is stopped. */
  stop({ graceSeconds = 10, signal }: StopOptions = {}): Promise<void> {
    return stopContainer(this.#engine, this.name, { graceSeconds, signal })
  }

  /**
   * Starts a stopped node and waits until it is usable: Ready, with every pod that the cluster brings to each node.
   *
   * @throws MayflyError `WAIT_TIMED_OUT` with what is not ready and why
   */
  async start(options: StartOptions = {}): Promise<void> {
    await startContainer(this.#engine, this.name, { signal: options.signal })
    await this.#awaitUsable([this.name], options)
  }

  /** Stops the node, starts it, and waits until it is usable. */
  async restart({ graceSeconds, ...options }: StartOptions & StopOptions = {}): Promise<void> {
    await this.stop({ ...(graceSeconds !== undefined && { graceSeconds }), signal: options.signal })
    await this.start(options)
  }
}
