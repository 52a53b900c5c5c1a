import type { PlannedNode } from '../boot/index.ts'
import type { NodeRole } from '../config/index.ts'
import {
  containerLogs,
  type Engine,
  type ExecOptions,
  type ExecResult,
  exec,
  pauseContainer,
  putFiles,
  readFile,
  unpauseContainer,
} from '../engine/index.ts'
import { MayflyError } from '../errors.ts'

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

  /** @internal */
  constructor(engine: Engine, { spec, addresses }: PlannedNode) {
    this.#engine = engine
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
   * Reads a file of the node.
   *
   * @throws MayflyError `EXEC_FAILED` when there is no such file
   */
  async readFile(path: string): Promise<Buffer> {
    const content = await readFile(this.#engine, this.name, path)
    if (!content) throw new MayflyError('EXEC_FAILED', `Node ${this.name} has no file ${path}`)
    return content
  }

  /** Writes a file of the node; missing folders are made. */
  writeFile(
    path: string,
    content: string | Uint8Array,
    { mode = 0o644 }: { mode?: number } = {},
  ): Promise<void> {
    return putFiles(this.#engine, this.name, [{ path, content, mode }])
  }

  /** Freezes every process of the node, as a machine that hangs. */
  pause(): Promise<void> {
    return pauseContainer(this.#engine, this.name)
  }

  /** Lets a paused node go on. */
  unpause(): Promise<void> {
    return unpauseContainer(this.#engine, this.name)
  }
}
