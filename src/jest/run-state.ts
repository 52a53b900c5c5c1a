import type { Config } from '@jest/types'
import type { MayflyContext, RunContext, SessionPlan } from '../session/index.ts'

/** Of a test that says nothing, in milliseconds: pods take seconds to start, so Jest's 5 s are no measure. */
export const testTimeoutMs = 60_000

/** What the tests of each project are told, by Jest's id of the project. */
export type ProjectContexts = Record<string, MayflyContext | RunContext>

/** Variable of the environment through which workers are told of it: Jest has nothing else for it. */
const contextVariable = 'MAYFLY_JEST_CONTEXT'

const place = Symbol.for('mayfly.jest.plans')

const runState = globalThis as { [place]?: readonly SessionPlan[] }

/** The plans of the run's clusters, from globalSetup to globalTeardown, or to the next run in watch mode. */
export function currentPlans(): readonly SessionPlan[] {
  return runState[place] ?? []
}

/** Remembers the plans of the run's clusters. */
export function setCurrentPlans(plans: readonly SessionPlan[]): void {
  runState[place] = plans
}

/** Whether Jest will run tests again in this process. */
export function isWatching({ watch, watchAll }: Config.GlobalConfig): boolean {
  return watch || watchAll
}

/** Tells workers what there is for the tests of each project. */
export function tellWorkers(contexts: ProjectContexts | undefined): void {
  if (contexts) process.env[contextVariable] = JSON.stringify(contexts)
  else delete process.env[contextVariable]
}

/** What the tests of a project are told; `undefined` without the preset's globalSetup. */
export function contextOfProject(id: string): MayflyContext | RunContext | undefined {
  const text = process.env[contextVariable]
  return text ? (JSON.parse(text) as ProjectContexts)[id] : undefined
}
