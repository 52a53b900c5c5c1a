import type { Config } from '@jest/types'
import { releaseSession } from '../session/index.ts'
import { contextVariable, currentPlan, isWatching, setCurrentPlan } from './run-state.ts'

/** Jest's globalTeardown. In watch mode the cluster is kept for the next run; it goes with the process. */
export default async function teardown(globalConfig: Config.GlobalConfig): Promise<void> {
  const plan = currentPlan()
  if (!plan || isWatching(globalConfig)) return
  setCurrentPlan(undefined)
  delete process.env[contextVariable]
  await releaseSession(plan)
}
