import type { Config } from '@jest/types'
import {
  acquireSession,
  type MayflyOptions,
  openedSession,
  planSession,
  releaseSession,
} from '../session/index.ts'
import { contextVariable, currentPlan, setCurrentPlan } from './run-state.ts'

/**
 * Jest's globalSetup. Jest calls it before every run, in watch mode as well: a cluster that is still there and is what is
 * asked for gets the images and manifests that changed since.
 */
export default async function setup(
  _globalConfig: Config.GlobalConfig,
  { testEnvironmentOptions, rootDir }: Config.ProjectConfig,
): Promise<void> {
  const options = (testEnvironmentOptions as { mayfly?: MayflyOptions }).mayfly ?? {}
  const plan = planSession(options, rootDir)
  const previous = currentPlan()
  const opened = openedSession(plan.key)
  if (previous && previous.key !== plan.key) await releaseSession(previous)
  if (opened) await (await opened).reload()
  const session = (await opened) ?? (await acquireSession(plan))
  setCurrentPlan(plan)
  try {
    process.env[contextVariable] = JSON.stringify(await session.contextFor(plan))
  } catch (thrown) {
    // Jest calls no teardown after a setup that failed.
    setCurrentPlan(undefined)
    await releaseSession(plan)
    throw thrown
  }
}
