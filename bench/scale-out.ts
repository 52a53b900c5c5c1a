import { bothSides, type Row, seconds } from './benchmark.ts'
import { memory } from './memory.ts'
import { createUsable, type RunningCluster } from './tool.ts'

const memoryMiB = 8 * 1024

/** Clusters of one node, one after another, side by side. */
export const scaleOut = bothSides(
  ({ clusters }): Record<string, Row> => ({
    [`scale-out-${clusters}`]: {
      unit: 's',
      note: `boot of one node while ${clusters - 1} such clusters run`,
    },
    'scale-out-fit': {
      unit: 'clusters',
      note: `clusters of one node in 8 GiB, by the mean memory of ${clusters} that run`,
    },
  }),
  async (tool, { engine, clusters }) => {
    await using running = new AsyncDisposableStack()
    const made: RunningCluster[] = []
    let last = Number.NaN
    for (let at = 1; at <= clusters; at++) {
      last = await seconds(async () => {
        made.push(running.use(await createUsable(tool, engine, { name: `out-${at}` })))
      })
    }
    const used = await memory(
      engine,
      made.flatMap(({ nodes }) => nodes),
    )
    return {
      [`scale-out-${clusters}`]: last,
      'scale-out-fit': Math.floor(memoryMiB / (used / clusters)),
    }
  },
)
