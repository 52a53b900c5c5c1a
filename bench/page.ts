import { cpus, totalmem } from 'node:os'
import type { Engine } from '../src/engine/index.ts'
import type { Row } from './benchmark.ts'
import type { Comparison, Spread } from './report.ts'

const head = `# Benchmarks

Written by \`npm run bench -- --write\`: mayfly beside real kind, on the same host, from the same node image with the same
binaries, in turns. Each cell has the median and, in brackets, least and greatest; the ratio is kind's figure divided by
mayfly's (for a count, mayfly's divided by kind's), round by round, and of these the median. Figures of different days or
hosts say little beside each other: the ratio is what counts.

A cluster counts as usable when every node is Ready by its own kubelet's word, every pod in kube-system is Ready and its
containers were started since the creation began, and on every node the cluster's DNS answers through its Service to
somebody in the pod network. The same probe looks at both.
`

const columns = `| | mayfly | kind v0.33.0 | ratio | rounds | date |
|---|---|---|---|---|---|`

/** The host that figures come from, as the heading of its table. */
export function describeHost(engine: Engine): string {
  const [{ model = 'unknown' } = {}] = cpus()
  return [
    model,
    `${cpus().length} processors`,
    `${Math.round(totalmem() / 2 ** 30)} GiB`,
    `Linux ${engine.kernel}`,
    `cgroup v${engine.cgroupVersion}`,
    `${engine.kind} ${engine.version}`,
  ].join(', ')
}

/**
 * The page with new outcomes in it: a table for each host. Rows that were not measured stay as they are.
 *
 * @param page The page as it is
 * @param rows What every benchmark measures, in order
 */
export function updatePage(
  page: string,
  host: string,
  results: readonly Comparison[],
  rows: Readonly<Record<string, Row>>,
): string {
  const tables = readTables(page)
  const own = tables.get(host) ?? new Map<string, string>()
  for (const result of results) own.set(result.name, line(result))
  tables.set(host, own)
  const order = Object.keys(rows)
  const sections = [...tables].map(([heading, lines]) => {
    const sorted = [...lines].toSorted(([a], [b]) => rank(order, a) - rank(order, b))
    return `## ${heading}\n\n${columns}\n${sorted.map(([, text]) => text).join('\n')}\n`
  })
  const notes = Object.entries(rows).map(([name, { note }]) => `- \`${name}\`: ${note}`)
  return [head, ...sections, `## What they measure\n\n${notes.join('\n')}\n`].join('\n')
}

function rank(order: readonly string[], name: string): number {
  const at = order.indexOf(name)
  return at < 0 ? order.length : at
}

/** Heading → name of a row → the row. */
function readTables(page: string): Map<string, Map<string, string>> {
  const tables = new Map<string, Map<string, string>>()
  for (const section of page.split(/^## /m).slice(1)) {
    const [heading = ''] = section.split('\n', 1)
    const found = [...section.matchAll(/^\| `([^`]+)` \|.*$/gm)].map(
      ([text, name = '']) => [name, text] as const,
    )
    if (found.length > 0) tables.set(heading, new Map(found))
  }
  return tables
}

function line({ name, unit, mayfly, peer, ratio, rounds, date }: Comparison): string {
  const cell = ({ median, min, max }: Spread) =>
    min === max ? `${median} ${unit}` : `${median} (${min}–${max}) ${unit}`
  const peerCell = peer ? cell(peer) : '–'
  return `| \`${name}\` | ${cell(mayfly)} | ${peerCell} | ${ratio ?? '–'} | ${rounds.length} | ${date} |`
}
