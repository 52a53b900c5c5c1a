import type { EnvironmentContext, JestEnvironmentConfig } from '@jest/environment'
import type { Circus } from '@jest/types'
import { TestEnvironment } from 'jest-environment-node'
import {
  clusterForFile,
  consistentlyWithin,
  eventuallyWithin,
  type FileCluster,
  isolationNamed,
  isolationPragma,
  kubeMatchers,
  leaseNamespace,
  limitsFromNow,
  type NamespaceLease,
} from '../session/worker.ts'
import { helpersGlobal, type JestHelpers, type MayflyTest } from './helpers.ts'
import { contextOfProject, testTimeoutMs } from './run-state.ts'
import { type TestBody, testWithFixtures } from './test-api.ts'

/** A test that runs. */
interface RunningTest {
  name: string
  timeoutMs: number
  ended: AbortController
  lease?: NamespaceLease
}

/** What Jest offers to test files. */
type Globals = Record<'test', MayflyTest> & {
  expect: JestHelpers['expect']
  console: Console
  [helpersGlobal]?: () => JestHelpers
}

/**
 * Jest's node environment, and what `mayfly/jest/test` hands out. It lives out here, and not in the test file's own realm,
 * so that it is loaded once and test files may be CommonJS or ES modules.
 */
export default class MayflyEnvironment extends TestEnvironment {
  readonly #globals: Globals
  readonly #context: EnvironmentContext
  readonly #projectId: string
  readonly #testTimeoutMs: number | undefined
  #file: FileCluster | undefined
  /** More than one where tests are concurrent. */
  readonly #running = new Map<Circus.TestEntry, RunningTest>()

  constructor(config: JestEnvironmentConfig, context: EnvironmentContext) {
    super(config, context)
    this.#context = context
    this.#projectId = config.projectConfig.id
    this.#testTimeoutMs = config.globalConfig.testTimeout
    this.#globals = this.global as unknown as Globals
  }

  /** A cluster of the file's own is waited for here, where no time-out counts. */
  override async setup(): Promise<void> {
    await super.setup()
    const run = contextOfProject(this.#projectId)
    if (run) {
      const { docblockPragmas, testPath } = this.#context
      const chosen = docblockPragmas[isolationPragma]
      const where = `@${isolationPragma} of ${testPath}`
      const isolation = chosen === undefined ? run.isolation : isolationNamed(chosen, where)
      this.#file = await clusterForFile(run, isolation, testPath)
    }
    this.#globals[helpersGlobal] = () => this.#helpers()
  }

  override async teardown(): Promise<void> {
    await this.#file?.release()
    await super.teardown()
  }

  /** Jest waits for what this returns before it goes on, so a namespace is asked about while it is still there. */
  async handleTestEvent(event: Circus.AsyncEvent | Circus.SyncEvent, state: Circus.State): Promise<void> {
    if (event.name === 'setup') {
      // Jest takes no time-out from presets of projects.
      if (!this.#testTimeoutMs) state.testTimeout = testTimeoutMs
    } else if (event.name === 'test_fn_start') {
      const timeoutMs = event.test.timeout ?? state.testTimeout
      const name = fullNameOf(event.test)
      this.#running.set(event.test, { name, timeoutMs, ended: new AbortController() })
    } else if (event.name === 'test_done') {
      const test = this.#running.get(event.test)
      this.#running.delete(event.test)
      test?.ended.abort()
      const errors = event.test.errors.map((error) => messageOfFailure(error))
      const diagnosis = await test?.lease?.end({ failed: errors.length > 0, errors })
      if (diagnosis) this.#globals.console.error(diagnosis.text)
    }
  }

  #helpers(): JestHelpers {
    const file = this.#file
    if (!file) {
      throw new Error("This run has no cluster: set `preset: 'mayfly/jest'` in Jest's configuration")
    }
    const { cluster, context } = file
    this.#globals.expect.extend(kubeMatchers as unknown as Parameters<JestHelpers['expect']['extend']>[0])
    const test = testWithFixtures(this.#globals.test, (body) => this.#run(body, file))
    return {
      test,
      it: test,
      expect: this.#globals.expect,
      cluster,
      kube: cluster.kube,
      mayfly: context,
      kubeconfig: context.kubeconfig,
    }
  }

  async #run(body: TestBody, file: FileCluster): Promise<unknown> {
    const current = this.#thisTest()
    const { signal } = current.ended
    const limits = limitsFromNow(current.timeoutMs, signal)
    current.lease = await leaseNamespace(file, current.name, limits)
    const { cluster } = file
    return body({
      cluster,
      kube: cluster.kube,
      namespace: current.lease.namespace,
      eventually: eventuallyWithin(limits),
      consistently: consistentlyWithin(limits),
      signal,
    })
  }

  #thisTest(): RunningTest {
    const { currentTestIdentity } = this.#globals.expect.getState() as ExpectState
    const test = currentTestIdentity?.()
    const [only, ...others] = this.#running.values()
    const found = test ? this.#running.get(test) : others.length === 0 ? only : undefined
    if (found) return found
    throw new Error('This version of Jest does not tell which of its concurrent tests runs; 30.5 does')
  }
}

/** Jest's own state of its `expect`: since 30.5 it says which test is running, also where several are. */
interface ExpectState {
  currentTestIdentity?(): Circus.TestEntry | undefined
}

function fullNameOf(test: Circus.TestEntry): string {
  const names = [test.name as string]
  for (let block = test.parent; block.parent; block = block.parent) names.unshift(block.name as string)
  return names.join(' > ')
}

function messageOfFailure(error: Circus.TestError): string {
  const [thrown, placed] = Array.isArray(error) ? (error as [unknown, Error]) : [error]
  return String((thrown as Error | undefined)?.message ?? thrown ?? placed?.message)
}
