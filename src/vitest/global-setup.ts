/**
 * Vitest's globalSetup that makes a project's cluster: `globalSetup: ['mayfly/vitest/global-setup']`. The plugin adds it
 * by itself. Without the plugin, options come from `test.provide.mayflyOptions`, or as JSON from MAYFLY_OPTIONS.
 */
import type { TestProject } from 'vitest/node'
import { isMayflyError, MayflyError, messageOf } from '../errors.ts'
import {
  acquireSession,
  type MayflyOptions,
  planSession,
  releaseSession,
  type Session,
  type SessionPlan,
} from '../session/index.ts'
import { expectedFiles } from './expected-files.ts'
import './provided-context.ts'
import { optionsOfPlugin } from './plugin-options.ts'

export type { MayflyContext } from './provided-context.ts'

/** Makes the cluster and tells tests of it. Returns what ends it. */
export default async function setup(project: TestProject): Promise<(() => Promise<void>) | undefined> {
  // Vitest runs this for a root project as well that only holds the others together.
  if (!project.vitest.projects.includes(project)) return undefined
  const plan = planSession(optionsOfPlugin(project) ?? plainOptions(project), project.config.root)
  let session: Session | undefined
  const prepare = async (testFiles: readonly string[]) => {
    session = await (session ? reloaded(session) : opened(plan, project))
    await session.expect(project, expectedFiles(project, testFiles, plan.isolation))
  }
  project.onTestsRerun(async (specifications) => {
    const testFiles = specifications.map(({ moduleId }) => moduleId)
    // What is thrown here ends Vitest, and the cluster with it; a mistake in a manifest should not.
    const failure = await prepare(testFiles).then(() => undefined, messageOf)
    project.provide('mayflyFailure', failure)
  })
  const end = async () => session && releaseSession(plan)
  try {
    await prepare(project.vitest.state.getPaths())
  } catch (thrown) {
    keepNoTestFilesQuiet(project)
    // A rerun may succeed, and Vitest has nothing then that this would have returned.
    project.vitest.onClose(end)
    throw readable(thrown)
  }
  return end
}

async function opened(plan: SessionPlan, project: TestProject): Promise<Session> {
  const session = await acquireSession(plan)
  try {
    const context = await session.contextFor(plan)
    project.provide('kubeconfig', context.kubeconfig)
    project.provide('mayfly', context)
    return session
  } catch (thrown) {
    await releaseSession(plan)
    throw thrown
  }
}

async function reloaded(session: Session): Promise<Session> {
  await session.reload()
  return session
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

/**
 * Vitest prints "No test files found" also for a run whose setup failed, before the reason, because its reporters are told of
 * the end of a run without files and without errors (`runFiles` in vitest/src/node/core.ts).
 */
function keepNoTestFilesQuiet({ vitest: { logger } }: TestProject): void {
  const print = logger.printNoTestFound
  logger.printNoTestFound = () => {
    logger.printNoTestFound = print
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
