import { createCluster } from '../src/index.ts'
import { type Benchmark, seconds } from './benchmark.ts'
import { createUsable } from './tool.ts'

/** A cluster for API tests: a control plane alone; kind has one node for it. */
export const controlPlaneOnly: Benchmark = {
  rows: () => ({
    'boot-control-plane-only': {
      unit: 's',
      note: 'a control plane without nodes, until its controllers work; kind: one node',
    },
  }),
  async mayfly({ image }) {
    await using clusters = new AsyncDisposableStack()
    const took = await seconds(async () =>
      clusters.use(await createCluster({ controlPlaneOnly: true, image, progress: 'silent' })),
    )
    return { 'boot-control-plane-only': took }
  },
  async peer({ engine, kind }) {
    await using clusters = new AsyncDisposableStack()
    const took = await seconds(async () => clusters.use(await createUsable(kind, engine)))
    return { 'boot-control-plane-only': took }
  },
}
