import type { RollbackReport } from '../src/index.ts'
import { ordinarySuite } from '../test/snapshot/suite.ts'
import { type Benchmark, round, seconds } from './benchmark.ts'
import { createMayfly, createUsable } from './tool.ts'

/** A pristine cluster after a suite: rolled back, or deleted and created anew, which is what kind has for it. */
export const rollback: Benchmark = {
  rows: () => ({
    rollback: {
      unit: 's',
      note: 'one node back to its state before a suite with 5 pods, until nothing of it is left; kind: delete and create',
    },
    'rollback-pristine': {
      unit: 's',
      note: 'the same, until the API shows that state; kind: delete and create',
    },
    'rollback-processes': {
      unit: 's',
      note: "the same, until no process of the suite's is left; kind: delete and create",
    },
  }),
  async mayfly({ image }) {
    await using cluster = await createMayfly(image)
    const snapshot = await cluster.snapshot()
    await ordinarySuite(cluster.kube)
    let report: RollbackReport | undefined
    const took = await seconds(async () => {
      report = await cluster.rollback(snapshot)
    })
    const { processesGoneMs = Number.NaN } = (await report?.settled) ?? {}
    return {
      rollback: took,
      'rollback-pristine': round((report?.pristineMs ?? Number.NaN) / 1000),
      'rollback-processes': round(processesGoneMs / 1000),
    }
  },
  async peer({ engine, kind }) {
    await using clusters = new AsyncDisposableStack()
    const used = await createUsable(kind, engine)
    const took = await seconds(async () => {
      await used.delete()
      clusters.use(await createUsable(kind, engine))
    })
    return { rollback: took, 'rollback-pristine': took, 'rollback-processes': took }
  },
}
