/** The reaper: whose everything is, and that nothing outlives its owner. */
export { makePrivateFolder, removePrivateFolder } from './folders.ts'
export { defaultTtlMs, type Labels, label, ownership } from './ownership.ts'
export { type Belongings, deleteCluster, deleteInstance, listBelongings } from './removal.ts'
export { type SweepOptions, type Swept, sweep } from './sweep.ts'
export { type Lease, type LeaseOptions, startWatchdog } from './watchdog.ts'
