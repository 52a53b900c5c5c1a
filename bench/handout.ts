import { leaseCluster } from '../src/broker/worker.ts'
import { acquireSession, planSession, releaseSession } from '../src/session/index.ts'
import { type Benchmark, round, seconds } from './benchmark.ts'
import { createUsable } from './tool.ts'

/** A test file gets a cluster to itself: from the broker, which has one ready, or, as with kind, a new one. */
export const handout: Benchmark = {
  rows: () => ({
    handout: {
      unit: 's',
      note: 'a pristine cluster of one node, which is ready, is handed to a test file; kind: create',
    },
  }),
  async mayfly({ image }) {
    const options = { image, isolation: 'rollback', progress: 'silent', maxClusters: 1 } as const
    const plan = planSession(options, import.meta.dirname)
    const session = await acquireSession(plan)
    try {
      const { broker } = await session.contextFor(plan)
      const ask = (file: string) => leaseCluster(broker, { isolation: 'rollback', file })
      // The first one waits for the cluster to be made.
      await (await ask('first')).release()
      await session.contextFor(plan)
      const begun = performance.now()
      const lease = await ask('measured')
      const took = performance.now() - begun
      await lease.release()
      return { handout: round(took / 1000) }
    } finally {
      await releaseSession(plan)
    }
  },
  async peer({ engine, kind }) {
    await using clusters = new AsyncDisposableStack()
    return { handout: await seconds(async () => clusters.use(await createUsable(kind, engine))) }
  },
}
