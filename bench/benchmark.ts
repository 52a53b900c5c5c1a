import type { Engine } from '../src/engine/index.ts'
import type { ImageShelf } from './image-shelf.ts'
import type { KindestImage } from './kindest.ts'
import type { Tool } from './tool.ts'

/** What a benchmark is given. */
export interface Setting {
  engine: Engine
  /** The node image of both sides. */
  image: string
  mayfly: Tool
  kind: Tool
  /** The images that are loaded into clusters. */
  images: ImageShelf
  /** The same node image in kind's own layout. */
  kindest: KindestImage
  /** Counts of nodes for the benchmarks that grow a cluster. */
  sizes: readonly number[]
  /** Clusters side by side for `scale-out`. */
  clusters: number
}

/** One line of the results. */
export interface Row {
  unit: 's' | 'MiB' | 'clusters'
  /** What is measured, as it reads in the docs. */
  note: string
}

/** A row's name → what one round gave. */
export type Figures = Readonly<Record<string, number>>

/** Things that are measured together, as they need the same clusters. */
export interface Benchmark {
  /** By their names, in the order in which they are told. */
  rows(setting: Pick<Setting, 'sizes' | 'clusters'>): Readonly<Record<string, Row>>
  mayfly(setting: Setting): Promise<Figures>
  /** `undefined` when kind can't do it on this host. */
  peer(setting: Setting): Promise<Figures | undefined>
}

/** A benchmark of which both sides do the very same. */
export function bothSides(
  rows: Benchmark['rows'] | Readonly<Record<string, Row>>,
  run: (tool: Tool, setting: Setting) => Promise<Figures>,
): Benchmark {
  return {
    rows: typeof rows === 'function' ? rows : () => rows,
    mayfly: (setting) => run(setting.mayfly, setting),
    peer: (setting) => run(setting.kind, setting),
  }
}

/** How long something takes, in seconds. */
export async function seconds(work: () => Promise<unknown>): Promise<number> {
  const begun = performance.now()
  await work()
  return round((performance.now() - begun) / 1000)
}

/** A measurement with three digits: more would be noise. */
export function round(value: number): number {
  return Number(value.toPrecision(3))
}
