import type { Config } from '@jest/types'
import {
  acquireSession,
  type MayflyOptions,
  openedSession,
  planSession,
  releaseSession,
  type Session,
  type SessionPlan,
} from '../session/index.ts'
import { projectsBeside } from './projects.ts'
import { currentPlans, type ProjectContexts, setCurrentPlans, tellWorkers } from './run-state.ts'

/**
 * Jest's globalSetup. Jest calls it before every run, in watch mode as well: a cluster that is still there and is what is
 * asked for gets the images and manifests that changed since.
 *
 * Jest calls it for one of the projects that have it. That one's cluster is made here; the others', where they ask for
 * something else, when the first of their test files runs.
 */
export default async function setup(
  globalConfig: Config.GlobalConfig,
  project: Config.ProjectConfig,
): Promise<void> {
  const projects = [project, ...(await projectsBeside(globalConfig, project))]
  const plans = projects.map((one) => ({ id: one.id, plan: planOf(one) }))
  const byKey = new Map(plans.map(({ plan }) => [plan.key, plan]))
  const previous = currentPlans()
  setCurrentPlans([...byKey.values()])
  await Promise.all(previous.filter(({ key }) => !byKey.has(key)).map(releaseSession))
  try {
    const sessions = new Map<string, Session>()
    for (const plan of byKey.values()) sessions.set(plan.key, await sessionFor(plan))
    const contexts: ProjectContexts = {}
    for (const { id, plan } of plans) {
      const session = sessions.get(plan.key) as Session
      const isFirst = plan.key === plans[0]?.plan.key
      contexts[id] = isFirst ? await session.contextFor(plan) : session.runContext(plan)
    }
    tellWorkers(contexts)
  } catch (thrown) {
    // Jest calls no teardown after a setup that failed.
    setCurrentPlans([])
    await Promise.all([...byKey.values()].map(releaseSession))
    throw thrown
  }
}

function planOf({ testEnvironmentOptions, rootDir }: Config.ProjectConfig): SessionPlan {
  return planSession((testEnvironmentOptions as { mayfly?: MayflyOptions }).mayfly ?? {}, rootDir)
}

async function sessionFor(plan: SessionPlan): Promise<Session> {
  const opened = await openedSession(plan.key)
  if (!opened) return acquireSession(plan)
  await opened.reload()
  return opened
}
