import { adoptedRepository } from '../src/adopt/index.ts'
import { type Engine, inspectImage, listImageNames, putFiles, removeImage } from '../src/engine/index.ts'
import { findMayflyNode, isArchitecture } from '../src/node-image/index.ts'
import { buildKindestImage } from '../test/kindest/image.ts'
import type { Benchmark, Figures } from './benchmark.ts'
import { lifeOfThree } from './lives.ts'
import { createMayfly, nodes, type Shape, type Tool } from './tool.ts'

/**
 * The life of three nodes with a node image as people get it from kind: core images as archives, which kind unpacks in every
 * new node. mayfly adopts and bakes it once, before it is measured. MAYFLY_KINDEST_IMAGE names a published one; otherwise
 * one is made of the node image of both sides, with kind's own files.
 */
export const threeNodesOfKindest: Benchmark = {
  rows: () => ({
    'kindest-boot-3': {
      unit: 's',
      note: "three nodes of an image in kind's own layout, until they are usable",
    },
    'kindest-memory-3': { unit: 'MiB', note: 'memory of these three nodes, 30 s after they were usable' },
    'kindest-delete-3': { unit: 's', note: 'deleting these three nodes' },
  }),
  async mayfly(setting) {
    const kindest = await setting.kindest.get()
    const first = await createMayfly(setting.image, { kindest })
    await first.delete()
    return live(setting.mayfly, setting.engine, { ...nodes(3), kindest })
  },
  async peer(setting) {
    const kindest = await setting.kindest.get()
    return live(await withProbe(setting.kind, setting.engine, kindest), setting.engine, {
      ...nodes(3),
      kindest,
    })
  },
}

async function live(tool: Tool, engine: Engine, shape: Shape): Promise<Figures> {
  const figures = await lifeOfThree(tool, { engine }, shape)
  return Object.fromEntries(Object.entries(figures).map(([row, figure]) => [`kindest-${row}`, figure]))
}

/** The node image in kind's own layout. */
export interface KindestImage extends AsyncDisposable {
  /** Its name in the engine. */
  get(): Promise<string>
}

/** Made of the node image of both sides when it is first asked for. */
export function kindestImage(engine: Engine, image: string): KindestImage {
  const reference = 'mayfly-bench/kindest:1'
  let made: Promise<{ name: string; before: readonly string[] }> | undefined
  const make = async () => {
    const before = await listImageNames(engine)
    const published = process.env['MAYFLY_KINDEST_IMAGE']
    if (published) return { name: published, before }
    await buildKindestImage(engine, reference, image)
    return { name: reference, before: before.filter((name) => name !== reference) }
  }
  return {
    async get() {
      made ??= make()
      return (await made).name
    },
    async [Symbol.asyncDispose]() {
      if (!made) return
      const { before } = await made
      const isOfHere = (name: string) => name === reference || name.startsWith(`${adoptedRepository}:`)
      const names = (await listImageNames(engine)).filter((name) => isOfHere(name) && !before.includes(name))
      for (const name of names) await removeImage(engine, name)
    },
  }
}

/** The probe of usable.ts runs `mayfly-node`, which kind's nodes lack. It is there before their pods are Ready. */
async function withProbe(kind: Tool, engine: Engine, image: string): Promise<Tool> {
  const { Architecture: arch } = await inspectImage(engine, image)
  if (!isArchitecture(arch)) throw new Error(`${image} is for ${arch}`)
  const content = await (await findMayflyNode(arch)).read()
  const program = { path: '/usr/local/bin/mayfly-node', content, mode: 0o755 }
  return {
    ...kind,
    async create(shape) {
      const cluster = await kind.create(shape)
      await Promise.all(cluster.nodes.map((node) => putFiles(engine, node, [program])))
      return cluster
    },
  }
}
