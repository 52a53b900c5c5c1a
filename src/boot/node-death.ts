import { containerLogs, type Engine, waitForExit } from '../engine/index.ts'
import { MayflyError } from '../errors.ts'
import type { WaitLimits } from '../wait.ts'
import type { ClusterPlan } from './plan.ts'

/** Ends a wait at once when a node's container ends, with the end of its log. */
export async function whileNodesRun<T>(
  engine: Engine,
  plan: ClusterPlan,
  { timeoutMs, signal }: WaitLimits,
  wait: (limits: WaitLimits) => Promise<T>,
): Promise<T> {
  const stop = new AbortController()
  const limit = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal
  const deaths = plan.nodes.map(({ spec }) => nodeDeath(engine, spec.name, limit, stop))
  try {
    return await Promise.race([wait({ timeoutMs, signal: limit }), ...deaths])
  } finally {
    stop.abort()
  }
}

/** Rejects when a container ends; stays pending otherwise. */
async function nodeDeath(
  engine: Engine,
  name: string,
  signal: AbortSignal,
  stop: AbortController,
): Promise<never> {
  const code = await waitForExit(engine, name, { signal }).catch(() => undefined)
  if (signal.aborted || code === undefined) return new Promise<never>(() => undefined)
  const output = await containerLogs(engine, name, { tail: 40 })
  const error = new MayflyError(
    'NODE_EXITED',
    `Node ${name} ended with exit code ${code} while the cluster booted`,
    { output },
  )
  queueMicrotask(() => stop.abort(error))
  throw error
}
