import { type Benchmark, bothSides, type Figures, type Row, type Setting, seconds } from './benchmark.ts'
import type { BenchImage } from './image-shelf.ts'
import { createUsable, type LoadWay, nodes, type RunningCluster, type Tool } from './tool.ts'

/** One load into a cluster, in the order of the list. */
interface Load extends Row {
  name: string
  image: BenchImage
  way: LoadWay
  /** The load of kind's that it stands beside: kind knows one way only. */
  peer: string
}

const streamed = (name: string, image: BenchImage, what: string): Load => ({
  name,
  image,
  way: 'stream',
  peer: name,
  unit: 's',
  note: `${what}, onto three nodes, streamed`,
})
const linked = (name: string, image: BenchImage, what: string): Load => ({
  name: `${name}-zero-copy`,
  image,
  way: 'zero-copy',
  peer: name,
  unit: 's',
  note: `${what}, onto three nodes, linked to the engine's own layers`,
})

/** In this order: an image can be present, or changed, only after it was loaded. */
const loads: readonly Load[] = [
  streamed('load-cold', 'big', 'an incompressible image of 303 MB'),
  { ...streamed('load-present', 'big', ''), way: 'auto', note: 'the same image, which the nodes have' },
  streamed('load-changed-layer', 'changed', 'the same image with another layer of 3 MB'),
  streamed('load-small', 'small', 'an image of 5.8 MB'),
  linked('load-cold', 'otherBig', 'an incompressible image of 303 MB'),
  linked('load-changed-layer', 'otherChanged', 'the same image with another layer of 3 MB'),
  linked('load-small', 'otherSmall', 'an image of 5.8 MB'),
]

/** Loads into three nodes. */
export const loadsOfThreeNodes: Benchmark = {
  rows: () => Object.fromEntries(loads.map(({ name, ...row }) => [name, row])),
  mayfly: (setting) => timeLoads(setting.mayfly, setting, loads),
  async peer(setting) {
    const known = loads.filter(({ name, peer }) => name === peer)
    const figures = await timeLoads(setting.kind, setting, known)
    return Object.fromEntries(loads.map(({ name, peer }) => [name, figures[peer] ?? Number.NaN]))
  },
}

async function timeLoads(tool: Tool, setting: Setting, list: readonly Load[]): Promise<Figures> {
  await using cluster = await createUsable(tool, setting.engine, nodes(3))
  const figures: Record<string, number> = {}
  for (const load of list) figures[load.name] = await timeLoad(cluster, setting, load)
  return figures
}

async function timeLoad(
  cluster: RunningCluster,
  { images }: Setting,
  { image, way }: Pick<Load, 'image' | 'way'>,
): Promise<number> {
  const name = await images.get(image)
  return seconds(() => cluster.load(name, way))
}

/** How loading grows with the nodes. */
export const loadsOfMoreNodes = bothSides(
  ({ sizes }) =>
    Object.fromEntries(
      sizes.map(
        (size) =>
          [`load-nodes-${size}`, { unit: 's', note: `303 MB onto ${size} node(s), streamed` }] as const,
      ),
    ),
  async (tool, setting) => {
    const figures: Record<string, number> = {}
    for (const size of setting.sizes) {
      await using cluster = await createUsable(tool, setting.engine, nodes(size))
      figures[`load-nodes-${size}`] = await timeLoad(cluster, setting, { image: 'big', way: 'stream' })
    }
    return figures
  },
)
