/** Saves the state of a cluster that runs, and takes the cluster back to it. */
export type { RollbackOptions, RollbackReport, SettledReport } from './report.ts'
export { rollBack } from './rollback.ts'
export { assertFits, packCluster, type SavedCluster, saveCluster, unpackCluster } from './saved.ts'
export { latestSnapshot, type Snapshot, snapshotNamed } from './snapshot.ts'
export { type SnapshotOptions, type SnapshotTarget, takeSnapshot } from './take.ts'
