/**
 * Draws where the time of a boot goes, for mayfly and for kind, from one real boot of each:
 *
 *     node bench/trace.ts [FILE]
 *
 * Writes docs/boot-trace.svg, or FILE. The times come from the node's journal, from its pods' logs and from the API, none
 * from either tool. It needs an engine whose containers can be reached by their addresses, as Docker's on Linux.
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { connectEngine } from '../src/engine/index.ts'
import { kubernetesVersions } from '../src/node-image/index.ts'
import { prepareKind } from './kind.ts'
import { describeHost } from './page.ts'
import { createUsable, mayflyTool, type RunningCluster, type Tool } from './tool.ts'
import { draw } from './trace/draw.ts'
import { waterfall } from './trace/milestones.ts'
import { type Recording, record } from './trace/observe.ts'

const file = process.argv[2] ?? join(import.meta.dirname, '../docs/boot-trace.svg')
const image = process.env['MAYFLY_NODE_IMAGE'] || `mayfly/node:${kubernetesVersions[0]}`
const engine = await connectEngine()
await using kind = await prepareKind(engine, image)

async function recordBoot(tool: Tool): Promise<Recording> {
  const name = 'trace'
  let cluster: RunningCluster | undefined
  try {
    return await record(engine, `mayfly-bench-${name}-control-plane`, async () => {
      cluster = await createUsable(tool, engine, { name })
    })
  } finally {
    await cluster?.delete()
  }
}

const panels = []
for (const tool of [mayflyTool(image), kind]) {
  panels.push({ title: `${tool.name}, one node`, waterfall: waterfall(await recordBoot(tool)) })
}
const day = new Date().toISOString().slice(0, 10)
await writeFile(file, draw(panels, `One boot each on ${day}: ${describeHost(engine)}`))
