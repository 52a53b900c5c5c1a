import { basename } from 'node:path'
import type { ProcessTrace } from './sample-processes.ts'

/** What the processor time of a span went to, one lane for each program. */
export interface Activity {
  /** How long it took, in milliseconds. */
  end: number
  lanes: readonly ActivityLane[]
}

/** One program, in one place. */
export interface ActivityLane {
  label: string
  /** Milliseconds of processor time. */
  total: number
  /** In milliseconds since the beginning; `share` is 1 for one processor that is busy all the time. */
  spans: readonly { from: number; to: number; share: number }[]
}

/** Whose processor time it was. */
export interface Where {
  /** Id of the process that loads, where that is no program by a name of its own. */
  loader?: number
  /** Container id → node name. */
  nodes: ReadonlyMap<string, string>
}

/** What takes less is left out, in milliseconds. */
const leastTotal = 20

/** Sums up processes by program and place, in the order in which they began to work. Pure. */
export function activity(
  traces: readonly ProcessTrace[],
  { begun, ended }: { begun: number; ended: number },
  where: Where,
): Activity {
  const lanes = new Map<string, Map<number, number>>()
  for (const trace of traces) {
    const label = labelOf(trace, where)
    if (label === undefined) continue
    const lane = lanes.get(label) ?? new Map<number, number>()
    lanes.set(label, lane)
    for (const { at, busy } of trace.samples) lane.set(at, (lane.get(at) ?? 0) + busy)
  }
  const moments = [...new Set(traces.flatMap(({ samples }) => samples.map(({ at }) => at)))].sort(
    (a, b) => a - b,
  )
  const drawn = [...lanes].map(([label, busyAt]): ActivityLane => {
    const spans = moments.flatMap((at, index) => {
      const before = moments[index - 1] ?? begun
      const busy = busyAt.get(at) ?? 0
      if (busy === 0 || at <= begun || before >= ended) return []
      return [
        { from: Math.max(0, before - begun), to: Math.min(at, ended) - begun, share: busy / (at - before) },
      ]
    })
    return { label, spans, total: spans.reduce((sum, { from, to, share }) => sum + share * (to - from), 0) }
  })
  return {
    end: ended - begun,
    lanes: drawn
      .filter(({ total }) => total >= leastTotal)
      .sort((a, b) => (a.spans[0]?.from ?? 0) - (b.spans[0]?.from ?? 0)),
  }
}

/** Programs that have a part in it, by name; a node's own have the node's name as well. */
function labelOf({ pid, argv, container }: ProcessTrace, { loader, nodes }: Where): string | undefined {
  if (pid === loader) return 'the process that loads'
  const program = basename(argv[0] ?? '')
  const node = nodes.get(container)
  if (node === undefined) {
    if (program === 'docker') return `docker ${argv[1]}`
    return ['dockerd', 'kind', 'runc', 'containerd-shim-runc-v2'].includes(program) ? program : undefined
  }
  if (program === 'mayfly-node') return `mayfly-node ${argv[1]}, ${node}`
  return ['containerd', 'ctr'].includes(program) ? `${program}, ${node}` : undefined
}
