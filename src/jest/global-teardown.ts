import type { Config } from '@jest/types'
import { releaseSession } from '../session/index.ts'
import { currentPlans, isWatching, setCurrentPlans, tellWorkers } from './run-state.ts'

/** Jest's globalTeardown. In watch mode clusters are kept for the next run; they go with the process. */
export default async function teardown(globalConfig: Config.GlobalConfig): Promise<void> {
  if (isWatching(globalConfig)) return
  const plans = currentPlans()
  setCurrentPlans([])
  tellWorkers(undefined)
  await Promise.all(plans.map(releaseSession))
}
