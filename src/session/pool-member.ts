import type { PoolMember } from '../broker/index.ts'
import type { PreparedCluster } from './prepared-cluster.ts'

/** Time for a cluster's API server to say that it is well, in milliseconds. */
const answerLimitMs = 5_000

/** The state in which each file finds its cluster, by its name on the nodes. */
const snapshotName = 'before-each-file'

/** A cluster for the pool. All that it does, but for its deletion, gives up when the signal fires. */
export function poolMember({ cluster, context, refresh }: PreparedCluster, signal: AbortSignal): PoolMember {
  let saved: Promise<unknown> | undefined
  async function save(): Promise<void> {
    saved ??= cluster.snapshot(snapshotName, { signal })
    await saved
  }
  return {
    cluster: context,
    async check() {
      const limit = AbortSignal.any([signal, AbortSignal.timeout(answerLimitMs)])
      await cluster.kube.request('GET', '/readyz', { signal: limit })
    },
    save,
    async rollBack() {
      await cluster.rollback(snapshotName, { signal })
    },
    async refresh() {
      if (!(await refresh()) || !saved) return
      saved = undefined
      await save()
    },
    delete: () => cluster.delete(),
  }
}
