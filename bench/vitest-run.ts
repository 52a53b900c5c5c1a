import { join } from 'node:path'
import { execa } from 'execa'
import { type Benchmark, type Figures, type Setting, seconds } from './benchmark.ts'
import { createUsable, nodes, type Tool } from './tool.ts'

const root = join(import.meta.dirname, '..')

/**
 * A whole run of Vitest, beside what a script that creates and deletes a cluster takes. It is the built package that
 * runs.
 */
export const vitestRun: Benchmark = {
  rows: () => ({
    'run-trivial': {
      unit: 's',
      note: '`vitest run` of one trivial test on three nodes, from process start to exit; kind: create, until usable, and delete',
    },
    'create-delete-3': {
      unit: 's',
      note: 'the same without Vitest: three nodes created, until usable, and deleted',
    },
  }),
  async mayfly(setting) {
    await execa('npm', ['run', 'build'], { cwd: root })
    const run = await seconds(() =>
      execa('node', ['node_modules/vitest/vitest.mjs', 'run', '--root', 'fixtures/trivial'], {
        cwd: root,
        env: { MAYFLY_NODE_IMAGE: setting.image },
      }),
    )
    return { 'run-trivial': run, ...(await createAndDelete(setting.mayfly, setting)) }
  },
  async peer(setting) {
    const figures = await createAndDelete(setting.kind, setting)
    return { ...figures, 'run-trivial': figures['create-delete-3'] ?? Number.NaN }
  },
}

async function createAndDelete(tool: Tool, { engine }: Setting): Promise<Figures> {
  const took = await seconds(async () => {
    const cluster = await createUsable(tool, engine, nodes(3))
    await cluster.delete()
  })
  return { 'create-delete-3': took }
}
