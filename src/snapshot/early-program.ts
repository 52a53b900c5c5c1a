import { type Engine, execStream, type RunningExec } from '../engine/index.ts'

/** A program in a node that waits for its request. */
interface EarlyProgram {
  running: Promise<RunningExec>
  stop: AbortController
}

const argv = ['mayfly-node', 'rollback']

/** By the name of the node's container: a roll-back takes what is there, and the next one is started for the next. */
const waiting = new WeakMap<Engine, Map<string, EarlyProgram>>()

/**
 * Starts the program of a roll-back before it is needed. Starting a program in a container takes longer than all that a
 * roll-back of etcd does. It holds 10 MiB, this process does not wait for it, and it ends with this process.
 */
export function startEarly(engine: Engine, node: string): void {
  const ofEngine = waiting.get(engine) ?? new Map<string, EarlyProgram>()
  waiting.set(engine, ofEngine)
  if (ofEngine.has(node)) return
  const stop = new AbortController()
  const program = { stop, running: execStream(engine, node, argv, { signal: stop.signal }) }
  ofEngine.set(node, program)
  const ended = program.running.then((running) => {
    running.unref()
    return running.exited
  })
  // Whatever ended it, such as the node's being stopped: the next roll-back starts one of its own.
  ended
    .catch(() => undefined)
    .finally(() => {
      if (ofEngine.get(node) === program) ofEngine.delete(node)
    })
}

/** The program that waits in a node, for whoever asks first; it ends when the signal fires. None once that has fired. */
export async function takeEarly(
  engine: Engine,
  node: string,
  signal: AbortSignal,
): Promise<RunningExec | undefined> {
  const ofEngine = waiting.get(engine)
  const program = ofEngine?.get(node)
  if (!program || signal.aborted) return undefined
  ofEngine?.delete(node)
  signal.addEventListener('abort', () => program.stop.abort(signal.reason), { once: true })
  const running = await program.running.catch(() => undefined)
  running?.ref()
  return running
}

/** Starts the program of a roll-back. */
export function startNow(engine: Engine, node: string, signal: AbortSignal): Promise<RunningExec> {
  return execStream(engine, node, argv, { signal })
}
