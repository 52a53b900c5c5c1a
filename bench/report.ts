import { readFile, writeFile } from 'node:fs/promises'
import { type Figures, type Row, round } from './benchmark.ts'

/** Middle, least and greatest of some measurements. */
export interface Spread {
  median: number
  min: number
  max: number
}

/** What both sides gave in one round. */
interface Round {
  mayfly: number
  /** Missing when kind can't do it here, or was not asked. */
  peer?: number
}

/** One row's outcome, as `--json` writes it. */
export interface Comparison {
  name: string
  unit: string
  mayfly: Spread
  peer?: Spread & { name: string }
  /** Peer : mayfly, round by round, and of these the median; for a count of clusters the other way round. */
  ratio?: number
  /** Day of the last round, as YYYY-MM-DD. */
  date: string
  rounds: readonly Round[]
}

/** Adds a round to the outcomes; rows that it has no figure for stay as they are. */
export function addRound(
  results: readonly Comparison[],
  rows: Readonly<Record<string, Row>>,
  round: { mayfly: Figures; peer?: { name: string; figures: Figures } | undefined; date: string },
): Comparison[] {
  const measured = Object.entries(rows).flatMap(([name, { unit }]) => {
    const [mayfly, peer] = [round.mayfly[name], round.peer?.figures[name]]
    if (mayfly === undefined) return []
    const rounds = [
      ...(results.find((known) => known.name === name)?.rounds ?? []),
      { mayfly, ...(peer !== undefined && { peer }) },
    ]
    return [summarize({ name, unit, rounds, date: round.date }, round.peer?.name)]
  })
  const replaced = new Map(measured.map((comparison) => [comparison.name, comparison]))
  const kept = results.map((known) => replaced.get(known.name) ?? known)
  return [...kept, ...measured.filter(({ name }) => !results.some((known) => known.name === name))]
}

function summarize(
  outcome: Pick<Comparison, 'name' | 'unit' | 'rounds' | 'date'>,
  peerName = 'kind',
): Comparison {
  const pairs = outcome.rounds.flatMap(({ mayfly, peer }) => (peer === undefined ? [] : [{ mayfly, peer }]))
  const mayfly = spread(outcome.rounds.map((round) => round.mayfly))
  if (pairs.length === 0) return { ...outcome, mayfly }
  const moreIsBetter = outcome.unit === 'clusters'
  const ratios = pairs.map(({ mayfly: ours, peer }) => (moreIsBetter ? ours / peer : peer / ours))
  return {
    ...outcome,
    mayfly,
    peer: { name: peerName, ...spread(pairs.map(({ peer }) => peer)) },
    ratio: round(spread(ratios).median),
  }
}

function spread(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b)
  const at = (index: number) => sorted[index] ?? Number.NaN
  const middle = (sorted.length - 1) / 2
  const median = round((at(Math.floor(middle)) + at(Math.ceil(middle))) / 2)
  return { median, min: at(0), max: at(sorted.length - 1) }
}

/** The outcomes in a file that `--json` wrote; none when there is no such file. */
export async function readResults(file: string): Promise<Comparison[]> {
  const text = await readFile(file, 'utf8').catch((thrown: NodeJS.ErrnoException) => {
    if (thrown.code === 'ENOENT') return '[]'
    throw thrown
  })
  return JSON.parse(text) as Comparison[]
}

export async function writeResults(file: string, results: readonly Comparison[]): Promise<void> {
  await writeFile(file, `${JSON.stringify(results, undefined, 2)}\n`)
}
