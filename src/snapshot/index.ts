/** Saves the state of a cluster that runs, and takes the cluster back to it. */
export type { RollbackOptions, RollbackReport, SettledReport } from './report.ts'
export { rollBack } from './rollback.ts'
export { assertFits, type SavedCluster, saveCluster } from './saved.ts'
export { packCluster, type SaveOptions, unpackCluster } from './saved-file.ts'
export { latestSnapshot, type Snapshot, snapshotNamed } from './snapshot.ts'
export { type SnapshotOptions, type SnapshotTarget, takeSnapshot } from './take.ts'
