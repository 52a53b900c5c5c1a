import { cpus, totalmem } from 'node:os'
import type { Engine } from '../src/engine/index.ts'

/** Middle, least and greatest of some measurements. */
interface Spread {
  median: number
  min: number
  max: number
}

/** One benchmark's outcome, as `--json` writes it. */
export interface Comparison {
  name: string
  unit: string
  mayfly: Spread
  peer: Spread & { name: string }
  /** The median of the ratios peer : mayfly, each of one round. */
  ratio: number
}

/** Sums up the rounds of a benchmark. */
export function compare(
  name: string,
  unit: string,
  ours: readonly number[],
  peer: { name: string; values: readonly number[] },
): Comparison {
  const ratios = ours.map((value, round) => (peer.values[round] ?? Number.NaN) / value)
  const ratio = Math.round(spread(ratios).median * 100) / 100
  return { name, unit, mayfly: spread(ours), peer: { name: peer.name, ...spread(peer.values) }, ratio }
}

function spread(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b)
  const at = (index: number) => sorted[index] ?? Number.NaN
  const middle = (sorted.length - 1) / 2
  const median = (at(Math.floor(middle)) + at(Math.ceil(middle))) / 2
  return { median, min: at(0), max: at(sorted.length - 1) }
}

/** The outcomes as a page for the docs, with the host that they come from. */
export async function table(engine: Engine, results: readonly Comparison[]): Promise<string> {
  const rows = results.map(({ name, unit, mayfly, peer, ratio }) => {
    const cell = ({ median, min, max }: Spread) => `${median} (${min}–${max}) ${unit}`
    return `| \`${name}\` | ${cell(mayfly)} | ${cell(peer)} | ${ratio} |`
  })
  const [{ model = 'unknown' } = {}] = cpus()
  return `# Benchmarks

Written by \`npm run bench -- --write\` on ${new Date().toISOString().slice(0, 10)}: ${model}, ${cpus().length} processors,
${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${engine.kernel}, cgroup v${engine.cgroupVersion}, ${engine.kind} ${engine.version}.

Both sides run from the same node image, in turns. Each cell has the median and, in brackets, least and greatest; the
ratio is kind's figure divided by mayfly's, the median of the rounds. A cluster counts as usable when every node is
Ready, every pod in kube-system is, and the cluster's DNS answers through its Service on every node; the same probe
looks at both.

| | mayfly | ${results[0]?.peer.name ?? 'kind'} | ratio |
|---|---|---|---|
${rows.join('\n')}
`
}
