import type { Config } from '@jest/types'
import type { MayflyContext, SessionPlan } from '../session/index.ts'

/** Variable of the environment through which workers are told of their cluster: Jest has nothing else for it. */
export const contextVariable = 'MAYFLY_JEST_CONTEXT'

const place = Symbol.for('mayfly.jest.plan')

/** The plan of the run's cluster, from globalSetup to globalTeardown, or to the next run in watch mode. */
export const runState = globalThis as { [place]?: SessionPlan | undefined }

/** The plan of the run's cluster. */
export function currentPlan(): SessionPlan | undefined {
  return runState[place]
}

/** Remembers or, with `undefined`, forgets the plan of the run's cluster. */
export function setCurrentPlan(plan: SessionPlan | undefined): void {
  runState[place] = plan
}

/** Whether Jest will run tests again in this process. */
export function isWatching({ watch, watchAll }: Config.GlobalConfig): boolean {
  return watch || watchAll
}

/** What workers are told; `undefined` without the preset's globalSetup. */
export function contextOfRun(): MayflyContext | undefined {
  const text = process.env[contextVariable]
  return text ? (JSON.parse(text) as MayflyContext) : undefined
}
