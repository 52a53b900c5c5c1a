import type { Engine } from '../engine/index.ts'
import type { Progress } from '../progress/index.ts'
import type { Labels } from '../reaper/index.ts'
import type { WaitLimits } from '../wait.ts'
import type { StoredSnapshot } from './snapshot-store.ts'

/** What a boot is given besides the specification. */
export interface BootOptions extends WaitLimits {
  engine: Engine
  labels: Labels
  progress: Progress
  /** What to restore; default: the base snapshot that fits the configuration. */
  base?: StoredSnapshot | undefined
  /**
   * Runs beside the rest of the boot as soon as the nodes' containers run; the boot ends when this has ended, and fails
   * when this fails. Its signal fires when the boot fails.
   */
  onNodesStarted?: ((nodes: readonly string[], signal: AbortSignal) => Promise<void>) | undefined
}
