/**
 * Measures mayfly beside kind, on the same host, with the same node image, in turns (A B A B …):
 *
 *     npm run bench -- [--only boot-1,delete-3] [--runs 5] [--json results.json] [--write]
 *
 * `--write` puts the table into docs/benchmarks.md. Figures of two different runs say little beside each other: the
 * ratio of one run is what counts.
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { connectEngine } from '../src/engine/index.ts'
import { kubernetesVersions } from '../src/node-image/index.ts'
import { benchmarks } from './benchmarks.ts'
import { prepareKind } from './kind.ts'
import { type Comparison, compare, table } from './report.ts'

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    runs: { type: 'string', default: '5' },
    json: { type: 'string' },
    write: { type: 'boolean', default: false },
  },
})
const wanted = values.only?.split(',') ?? Object.keys(benchmarks)
const unknown = wanted.filter((name) => !(name in benchmarks))
if (unknown.length > 0) {
  console.error(
    `No benchmark is called ${unknown.join(', ')}; there are ${Object.keys(benchmarks).join(', ')}`,
  )
  process.exit(2)
}

const image = `mayfly/node:${kubernetesVersions[0]}`
const engine = await connectEngine()
await using kind = await prepareKind(engine, image)
const results: Comparison[] = []
for (const name of wanted) {
  const benchmark = benchmarks[name]
  if (!benchmark) continue
  const ours: number[] = []
  const theirs: number[] = []
  for (let round = 1; round <= Number(values.runs); round++) {
    ours.push(await benchmark.mayfly({ engine, image }))
    theirs.push(await benchmark.peer({ engine, image, kind }))
    console.error(
      `${name} ${round}/${values.runs}: mayfly ${ours.at(-1)}, kind ${theirs.at(-1)} ${benchmark.unit}`,
    )
  }
  results.push(compare(name, benchmark.unit, ours, { name: 'kind v0.33.0', values: theirs }))
}

if (values.json) await writeFile(values.json, `${JSON.stringify(results, undefined, 2)}\n`)
const text = await table(engine, results)
if (values.write) await writeFile(join(import.meta.dirname, '../docs/benchmarks.md'), text)
console.log(text)
