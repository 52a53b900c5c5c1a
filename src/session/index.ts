/** The session room: what the front doors for test runners share. Part for the process that runs the tests. */
export type { ExpectedFiles, Isolation } from '../broker/index.ts'
export { isOwn, isolationInSource } from '../broker/index.ts'
export type { MayflyContext, RunContext } from './context.ts'
export { type MayflyOptions, planSession, type SessionPlan } from './options.ts'
export { acquireSession, openedSession, releaseSession } from './registry.ts'
export type { Session } from './session.ts'
export { watchedPaths } from './watched-paths.ts'
