import type { EnvironmentContext, JestEnvironmentConfig } from '@jest/environment'
import type { Circus } from '@jest/types'
import { TestEnvironment } from 'jest-environment-node'
import {
  attachCluster,
  consistentlyWithin,
  eventuallyWithin,
  kubeMatchers,
  leaseNamespace,
  limitsFromNow,
  type MayflyContext,
  type NamespaceLease,
  type TestCluster,
} from '../session/worker.ts'
import { helpersGlobal, type JestHelpers, type MayflyTest, type MayflyTestCall } from './helpers.ts'
import { contextOfRun } from './run-state.ts'

/** The test that runs. */
interface Current {
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
  #cluster: TestCluster | undefined
  #current: Current | undefined

  constructor(config: JestEnvironmentConfig, context: EnvironmentContext) {
    super(config, context)
    this.#globals = this.global as unknown as Globals
  }

  override async setup(): Promise<void> {
    await super.setup()
    this.#globals[helpersGlobal] = () => this.#helpers()
  }

  override async teardown(): Promise<void> {
    this.#cluster?.kube.close()
    await super.teardown()
  }

  /** Jest waits for what this returns before it goes on, so a namespace is asked about while it is still there. */
  async handleTestEvent(event: Circus.AsyncEvent | Circus.SyncEvent, state: Circus.State): Promise<void> {
    if (event.name === 'test_fn_start') {
      const timeoutMs = event.test.timeout ?? state.testTimeout
      this.#current = { name: fullNameOf(event.test), timeoutMs, ended: new AbortController() }
    } else if (event.name === 'test_done' && this.#current) {
      const current = this.#current
      this.#current = undefined
      current.ended.abort()
      const errors = event.test.errors.map((error) => messageOfFailure(error))
      const diagnosis = await current.lease?.end({ failed: errors.length > 0, errors })
      if (diagnosis) this.#globals.console.error(diagnosis.text)
    }
  }

  #helpers(): JestHelpers {
    const context = contextOfRun()
    if (!context) {
      throw new Error("This run has no cluster: set `preset: 'mayfly/jest'` in Jest's configuration")
    }
    this.#cluster ??= attachCluster(context)
    const cluster = this.#cluster
    this.#globals.expect.extend(kubeMatchers as unknown as Parameters<JestHelpers['expect']['extend']>[0])
    const test = this.#testOn(this.#globals.test, cluster, context)
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

  #testOn(test: MayflyTest, cluster: TestCluster, context: MayflyContext): MayflyTest {
    const withCluster =
      (call: MayflyTestCall): MayflyTestCall =>
      (name, run, timeoutMs) =>
        // Jest looks at the number of parameters to tell tests with a callback.
        (call as unknown as (name: string, run: () => unknown, timeoutMs?: number) => void)(
          name,
          () => this.#run(run, cluster, context),
          timeoutMs,
        )
    return Object.assign(withCluster(test), {
      only: withCluster(test.only),
      skip: withCluster(test.skip),
      failing: withCluster(test.failing),
    })
  }

  async #run(
    run: Parameters<MayflyTestCall>[1],
    cluster: TestCluster,
    context: MayflyContext,
  ): Promise<unknown> {
    const current = this.#current
    if (!current) throw new Error('Tests of mayfly/jest/test cannot run side by side within a file')
    const { signal } = current.ended
    const limits = limitsFromNow(current.timeoutMs, signal)
    current.lease = await leaseNamespace(cluster, context, current.name, limits)
    return run({
      cluster,
      kube: cluster.kube,
      namespace: current.lease.namespace,
      eventually: eventuallyWithin(limits),
      consistently: consistentlyWithin(limits),
      signal,
    })
  }
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
