import type { PoolMember } from '../broker/index.ts'
import { MayflyError } from '../errors.ts'
import type { PreparedCluster } from './prepared-cluster.ts'

/** Time for a cluster's API server to say that it is well, in milliseconds. */
const answerLimitMs = 5_000

/** A cluster for the pool. All that it does, but for its deletion, gives up when the signal fires. */
export function poolMember({ cluster, context, refresh }: PreparedCluster, signal: AbortSignal): PoolMember {
  return {
    cluster: context,
    async check() {
      const limit = AbortSignal.any([signal, AbortSignal.timeout(answerLimitMs)])
      await cluster.kube.request('GET', '/readyz', { signal: limit })
    },
    async save() {},
    async rollBack() {
      throw new MayflyError('SNAPSHOT_UNFIT', 'Clusters can not be rolled back yet')
    },
    async refresh() {
      await refresh()
    },
    delete: () => cluster.delete(),
  }
}
