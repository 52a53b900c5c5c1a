/** The broker room. Part for the processes that tests run in, apart from the other, because it must load fast. */
export {
  type Isolation,
  isOwn,
  isolationInSource,
  isolationNamed,
  isolationPragma,
} from './isolation.ts'
export { type Lease, leaseCluster } from './lease.ts'
export type { ClusterContext } from './protocol.ts'
