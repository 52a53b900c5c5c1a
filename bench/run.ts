/**
 * Measures mayfly beside kind, on the same host, with the same node image, in turns (A B A B …):
 *
 *     npm run bench -- [--only boot-1,load] [--runs 5] [--json results.json] [--continue] [--write]
 *                      [--no-peer] [--peer-image IMAGE] [--sizes 1,2,4] [--clusters 4]
 *
 * - `--only` picks benchmarks by the names of their rows, or by how these begin. What needs the same clusters is measured
 *   together.
 * - `--json` writes the results; with `--continue` the rounds that are in that file already count as well.
 * - `--write` puts the rows into docs/benchmarks.md and leaves the others there alone.
 * - `--no-peer` measures our side only.
 * - `--peer-image` is kind's node image instead of the one of both sides, such as one of Kubernetes as it was released
 *   (`mayfly build node-image --unchanged`). The page has figures of the same programs only, so that `--write` is refused.
 * - `--sizes` are the counts of nodes for `scale-nodes` and `load-nodes`; `--clusters` is how many `scale-out` makes.
 *
 * The node image is the default one, or MAYFLY_NODE_IMAGE. Figures of two different runs say little beside each other:
 * the ratio of one run is what counts.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { connectEngine } from '../src/engine/index.ts'
import { kubernetesVersions } from '../src/node-image/index.ts'
import type { Setting } from './benchmark.ts'
import { benchmarks } from './benchmarks.ts'
import { imageShelf } from './image-shelf.ts'
import { prepareKind } from './kind.ts'
import { kindestImage } from './kindest.ts'
import { describeHost, updatePage } from './page.ts'
import { addRound, readResults, writeResults } from './report.ts'
import { mayflyTool } from './tool.ts'

const { values } = parseArgs({
  allowNegative: true,
  options: {
    only: { type: 'string' },
    runs: { type: 'string', default: '5' },
    json: { type: 'string' },
    continue: { type: 'boolean', default: false },
    write: { type: 'boolean', default: false },
    peer: { type: 'boolean', default: true },
    'peer-image': { type: 'string' },
    sizes: { type: 'string', default: '1,2,4' },
    clusters: { type: 'string', default: '4' },
  },
})
const scale = { sizes: values.sizes.split(',').map(Number), clusters: Number(values.clusters) }
const rows = Object.assign({}, ...benchmarks.map((benchmark) => benchmark.rows(scale)))
const wanted = values.only?.split(',') ?? Object.keys(rows)
const isMeantBy = (name: string) => (only: string) => name === only || name.startsWith(`${only}-`)
const unknown = wanted.filter((only) => !Object.keys(rows).some((name) => isMeantBy(name)(only)))
if (unknown.length > 0) {
  console.error(`No benchmark is called ${unknown.join(', ')}; there are ${Object.keys(rows).join(', ')}`)
  process.exit(2)
}

if (values.write && values['peer-image']) {
  console.error('--write is for figures of one node image: leave out --peer-image')
  process.exit(2)
}

const image = process.env['MAYFLY_NODE_IMAGE'] || `mayfly/node:${kubernetesVersions[0]}`
const engine = await connectEngine()
await using kind = await prepareKind(engine, values['peer-image'] ?? image)
await using images = imageShelf(engine)
await using kindest = kindestImage(engine, image)
const setting: Setting = { engine, image, mayfly: mayflyTool(image), kind, images, kindest, ...scale }

let results = values.continue && values.json ? await readResults(values.json) : []
const measured = new Set<string>()
for (const benchmark of benchmarks) {
  const ownRows = benchmark.rows(scale)
  const names = Object.keys(ownRows)
  if (!names.some((name) => wanted.some(isMeantBy(name)))) continue
  for (let round = 1; round <= Number(values.runs); round++) {
    const mayfly = await benchmark.mayfly(setting)
    const figures = values.peer ? await benchmark.peer(setting) : undefined
    const peer = figures && { name: kind.name, figures }
    const date = new Date().toISOString().slice(0, 10)
    results = addRound(results, ownRows, { mayfly, peer, date })
    if (values.json) await writeResults(values.json, results)
    for (const name of names) {
      measured.add(name)
      console.error(
        `${name} ${round}/${values.runs}: mayfly ${mayfly[name]}, kind ${figures?.[name] ?? '–'} ${ownRows[name]?.unit}`,
      )
    }
  }
}

const file = join(import.meta.dirname, '../docs/benchmarks.md')
const page = updatePage(
  await readFile(file, 'utf8'),
  describeHost(engine),
  results.filter(({ name }) => measured.has(name)),
  rows,
)
if (values.write) await writeFile(file, page)
console.log(page)
