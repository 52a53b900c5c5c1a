import { writeFile } from 'node:fs/promises'
import type { StepEvent } from '../progress/index.ts'

/**
 * Writes a boot trace to the file that `MAYFLY_TRACE` names, for chrome://tracing or ui.perfetto.dev.
 *
 * @see https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU (Trace Event Format)
 */
export async function writeTrace(clusterName: string, events: readonly StepEvent[]): Promise<void> {
  const file = process.env['MAYFLY_TRACE']
  if (!file) return
  const spans = events.filter(({ type }) => type === 'end' || type === 'fail')
  const traceEvents = spans.map(({ step, atMs, durationMs = 0 }, at) => ({
    name: step,
    cat: 'boot',
    ph: 'X',
    ts: (atMs - durationMs) * 1000,
    dur: durationMs * 1000,
    pid: process.pid,
    tid: at,
    args: { cluster: clusterName },
  }))
  await writeFile(file, JSON.stringify({ traceEvents, displayTimeUnit: 'ms' }))
}
