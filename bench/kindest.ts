import { type Engine, imageExists, inspectImage, putFiles } from '../src/engine/index.ts'
import { findMayflyNode, isArchitecture } from '../src/node-image/index.ts'
import { buildKindestImage } from '../test/kindest/image.ts'
import type { Benchmark, Figures, Setting } from './benchmark.ts'
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
    const kindest = await kindestImage(setting)
    const first = await createMayfly(setting.image, { kindest })
    await first.delete()
    return live(setting.mayfly, setting.engine, { ...nodes(3), kindest })
  },
  async peer(setting) {
    const kindest = await kindestImage(setting)
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

/** The image, which is made once for each of ours. */
async function kindestImage({ engine, image }: Setting): Promise<string> {
  const published = process.env['MAYFLY_KINDEST_IMAGE']
  if (published) return published
  const { Id } = await inspectImage(engine, image)
  const reference = `mayfly-bench/kindest:${Id.replace(/^sha256:/, '').slice(0, 12)}`
  if (!(await imageExists(engine, reference))) await buildKindestImage(engine, reference, image)
  return reference
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
