/**
 * Draws where the time of an image load goes, for mayfly both ways and for kind, from one real load of 303 MB each onto
 * three nodes:
 *
 *     node bench/load-trace.ts [FILE]
 *
 * Writes docs/load-trace.svg, or FILE. What it shows is the processor time of every program that has a part in a load, as
 * the kernel counts it.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { connectEngine, inspectContainer } from '../src/engine/index.ts'
import { kubernetesVersions } from '../src/node-image/index.ts'
import { type BenchImage, imageShelf } from './image-shelf.ts'
import { prepareKind } from './kind.ts'
import { describeHost } from './page.ts'
import { createUsable, type LoadWay, mayflyTool, nodes, type RunningCluster, type Tool } from './tool.ts'
import { activity } from './trace/activity.ts'
import { type ActivityPanel, drawActivity } from './trace/draw-activity.ts'
import type { ProcessTrace } from './trace/sample-processes.ts'

const file = process.argv[2] ?? join(import.meta.dirname, '../docs/load-trace.svg')
const image = process.env['MAYFLY_NODE_IMAGE'] || `mayfly/node:${kubernetesVersions[0]}`
const engine = await connectEngine()
await using kind = await prepareKind(engine, image)
await using images = imageShelf(engine)

/** Everything that ran while something was done. */
async function sampled(work: () => Promise<unknown>) {
  const script = join(import.meta.dirname, 'trace/sample-processes.ts')
  const sampler = spawn(process.execPath, [script], { stdio: ['pipe', 'pipe', 'inherit'] })
  await once(sampler.stdout, 'readable')
  const begun = Date.now()
  await work()
  const ended = Date.now()
  sampler.stdin.end()
  const [, traces = '[]'] = (await text(sampler.stdout)).split('\n')
  return { begun, ended, traces: JSON.parse(traces) as ProcessTrace[] }
}

async function traceLoad(cluster: RunningCluster, wanted: BenchImage, way: LoadWay) {
  const containers = await Promise.all(
    cluster.nodes.map(async (name): Promise<[string, string]> => {
      const { Id } = await inspectContainer(engine, name)
      return [Id, name.replace(/^mayfly-bench-[a-z]+-/, '')]
    }),
  )
  const name = await images.get(wanted)
  const { traces, ...span } = await sampled(() => cluster.load(name, way))
  return activity(traces, span, { loader: process.pid, nodes: new Map(containers) })
}

async function panelsOf(tool: Tool, loads: [title: string, image: BenchImage, way: LoadWay][]) {
  await using cluster = await createUsable(tool, engine, { ...nodes(3), name: 'trace' })
  const panels: ActivityPanel[] = []
  for (const [title, wanted, way] of loads) {
    panels.push({ title: `${tool.name}${title}`, activity: await traceLoad(cluster, wanted, way) })
  }
  return panels
}

const panels = [
  ...(await panelsOf(mayflyTool(image), [
    [', streamed', 'big', 'stream'],
    [", linked to the engine's own layers", 'otherBig', 'zero-copy'],
  ])),
  ...(await panelsOf(kind, [['', 'big', 'auto']])),
]
const day = new Date().toISOString().slice(0, 10)
const caption = `303 MB onto three nodes, one load each on ${day}: ${describeHost(engine)}`
await writeFile(file, drawActivity(panels, caption))
