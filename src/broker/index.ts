/** The broker room: how isolated test files are from one another, and who gets which cluster. Part for the process that runs the tests. */
export {
  type Isolation,
  isOwn,
  isolationInSource,
  isolationNamed,
  type OwnIsolation,
} from './isolation.ts'
export type { ExpectedFiles } from './plan.ts'
export { Pool, type PoolLease, type PoolMember, type PoolParts } from './pool.ts'
export type { ClusterContext, LeaseRequest } from './protocol.ts'
export { type Lend, serveLeases } from './server.ts'
