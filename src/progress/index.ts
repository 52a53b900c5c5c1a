import { messageOf } from '../errors.ts'

/**
 * One thing that happened to a step. Times are milliseconds since the progress was created.
 *
 * @public
 */
export interface StepEvent {
  type: 'start' | 'end' | 'skip' | 'fail' | 'note'
  /** What the step does, as it reads after a tick: "Start 3 nodes". */
  step: string
  /** When it happened. */
  atMs: number
  /** How long the step took; on `end` and `fail`. */
  durationMs?: number
  /** What there is to add: the reason of a skip, a failure's message, the text of a note. */
  detail?: string
}

/** How progress is shown; `auto` is `live` on a terminal, else `plain`. */
export type ProgressMode = 'auto' | 'live' | 'plain' | 'silent'

/** Where steps are told to. */
export interface ProgressOptions {
  /** Default `auto`. */
  mode?: ProgressMode | undefined
  /** Default standard error, so that standard output stays free for results. */
  stream?: NodeJS.WriteStream | undefined
  /** Gets every event, also when the mode is `silent`. */
  onEvent?: ((event: StepEvent) => void) | undefined
}

/** Runs steps, tells of them, and remembers what they took. */
export interface Progress {
  /** Runs one step. Steps may run side by side; a failing one is told and its error passed on. */
  step<T>(name: string, run: () => Promise<T>): Promise<T>
  /** Tells that a step was not needed, and why. */
  skip(name: string, reason: string): void
  /** Tells something in passing that is no step. */
  note(text: string): void
  /** All that happened so far. */
  readonly events: readonly StepEvent[]
}

const frames = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏']

/** A progress that shows a line per step with its time and a tick as it ends. */
export function createProgress({
  mode = 'auto',
  stream = process.stderr,
  onEvent,
}: ProgressOptions = {}): Progress {
  const started = performance.now()
  const events: StepEvent[] = []
  const display = displayFor(mode, stream)

  function tell(event: Omit<StepEvent, 'atMs'>): void {
    const timed = { ...event, atMs: performance.now() - started }
    events.push(timed)
    display(timed)
    onEvent?.(timed)
  }

  return {
    events,
    async step(name, run) {
      const begin = performance.now()
      tell({ type: 'start', step: name })
      try {
        const result = await run()
        tell({ type: 'end', step: name, durationMs: performance.now() - begin })
        return result
      } catch (thrown) {
        tell({
          type: 'fail',
          step: name,
          durationMs: performance.now() - begin,
          detail: firstLine(messageOf(thrown)),
        })
        throw thrown
      }
    },
    skip: (name, reason) => tell({ type: 'skip', step: name, detail: reason }),
    note: (text) => tell({ type: 'note', step: text }),
  }
}

function displayFor(mode: ProgressMode, stream: NodeJS.WriteStream): (event: StepEvent) => void {
  const live = mode === 'live' || (mode === 'auto' && stream.isTTY && !process.env['CI'])
  if (mode === 'silent') return () => undefined
  return live ? liveDisplay(stream) : (event) => event.type !== 'start' && stream.write(`${line(event)}\n`)
}

/** Keeps the running steps on the last line of a terminal and prints each finished one above it. */
function liveDisplay(stream: NodeJS.WriteStream): (event: StepEvent) => void {
  const running = new Set<string>()
  let ticker: NodeJS.Timeout | undefined
  let frame = 0
  const draw = () => {
    const text = ` ${frames[frame++ % frames.length]} ${[...running].join(', ')} …`
    stream.write(`\r\x1b[K${text.slice(0, (stream.columns ?? 80) - 1)}`)
  }
  return (event) => {
    if (event.type === 'start') running.add(event.step)
    else {
      running.delete(event.step)
      stream.write(`\r\x1b[K${line(event)}\n`)
    }
    if (running.size > 0) {
      draw()
      ticker ??= setInterval(draw, 80).unref()
    } else {
      clearInterval(ticker)
      ticker = undefined
    }
  }
}

function line({ type, step, durationMs, detail }: StepEvent): string {
  const mark = { start: '…', end: '✓', skip: '-', fail: '✗', note: '·' }[type]
  const time = durationMs === undefined ? '' : `  ${seconds(durationMs)}`
  return ` ${mark} ${step}${detail ? ` (${detail})` : ''}${time}`
}

/** A duration as people read it: tenths below a minute, minutes and seconds above. */
export function seconds(ms: number): string {
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)}s`
  return `${Math.floor(ms / 60_000)}m${Math.round((ms % 60_000) / 1000)}s`
}

function firstLine(text: string): string {
  return text.split('\n', 1)[0] ?? text
}
