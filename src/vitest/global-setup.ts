/**
 * Vitest's globalSetup that makes a project's cluster: `globalSetup: ['mayfly/vitest/global-setup']`. The plugin adds it
 * by itself. Without the plugin, options come from `test.provide.mayflyOptions`, or as JSON from MAYFLY_OPTIONS.
 */
import type { TestProject } from 'vitest/node'
import { isMayflyError, MayflyError, messageOf } from '../errors.ts'
import { acquireSession, type MayflyOptions, planSession, releaseSession } from '../session/index.ts'
import { expectedFiles } from './expected-files.ts'
import './provided-context.ts'
import { optionsOfPlugin } from './plugin-options.ts'

export type { MayflyContext } from './provided-context.ts'

/** Makes the cluster and tells tests of it. Returns what ends it. */
export default async function setup(project: TestProject): Promise<(() => Promise<void>) | undefined> {
  // Vitest runs this for a root project as well that only holds the others together.
  if (!project.vitest.projects.includes(project)) return undefined
  const plan = planSession(optionsOfPlugin(project) ?? plainOptions(project), project.config.root)
  try {
    const session = await acquireSession(plan)
    const context = await session.contextFor(plan)
    await session.expect(project, expectedFiles(project, project.vitest.state.getPaths(), plan.isolation))
    project.provide('kubeconfig', context.kubeconfig)
    project.provide('mayfly', context)
    project.onTestsRerun(async (specifications) => {
      await session.reload()
      const paths = specifications.map(({ moduleId }) => moduleId)
      await session.expect(project, expectedFiles(project, paths, plan.isolation))
    })
  } catch (thrown) {
    await releaseSession(plan)
    throw readable(thrown)
  }
  return () => releaseSession(plan)
}

function plainOptions(project: TestProject): MayflyOptions {
  const { mayflyOptions } = project.getProvidedContext() as { mayflyOptions?: MayflyOptions }
  const text = process.env['MAYFLY_OPTIONS']
  if (mayflyOptions || !text) return mayflyOptions ?? {}
  try {
    return JSON.parse(text) as MayflyOptions
  } catch (thrown) {
    throw new MayflyError('CONFIG_INVALID', `MAYFLY_OPTIONS is no JSON: ${messageOf(thrown)}`)
  }
}

/** An error as Vitest should print it: its message has the reason, and the frames, causes and properties that Vitest adds are ours. */
function readable(thrown: unknown): unknown {
  if (!isMayflyError(thrown)) return thrown
  const error = new Error(thrown.message)
  error.name = `MayflyError ${thrown.code}`
  error.stack = `${error.name}: ${error.message}`
  return error
}
