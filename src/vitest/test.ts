/** Vitest's `test` and `expect` with a cluster: the fixtures `cluster`, `kube`, `namespace`, `eventually` and `consistently`. */
import {
  type Assertion,
  test as base,
  type ExpectStatic,
  inject,
  type TestContext,
  expect as vitestExpect,
} from 'vitest'
import { MayflyError } from '../errors.ts'
import type { Kube } from '../kube/index.ts'
import {
  attachCluster,
  type Consistently,
  consistentlyWithin,
  type Diagnosis,
  type Eventually,
  eventuallyWithin,
  type KubeMatchers,
  kubeMatchers,
  leaseNamespace,
  limitsFromNow,
  type ObjectHandle,
  type TestCluster,
  type TestNamespace,
} from '../session/worker.ts'
import './provided-context.ts'
import type { MayflyContext } from './provided-context.ts'

export { describe, inject, vi } from 'vitest'
export type * from '../session/worker.ts'
export type { MayflyContext } from './provided-context.ts'

/** What `expect` offers for an object of the cluster. */
export type KubeAssertion = KubeMatchers & { not: KubeMatchers; soft?: never } & Pick<
    Assertion,
    'toBe' | 'toBeDefined'
  >

/**
 * Vitest's `expect`, with matchers for `namespace.deployment('web')` and its like.
 *
 * @public
 */
export const expect = vitestExpect as (<T extends object>(
  handle: ObjectHandle<T>,
  message?: string,
) => KubeAssertion) &
  ExpectStatic

vitestExpect.extend(kubeMatchers)

/**
 * Vitest's `test`, with a cluster. Nothing is made for a test that asks for none of it.
 *
 * @public
 */
export const test = base
  // biome-ignore lint/correctness/noEmptyPattern: Vitest reads the names of what a fixture needs off the pattern
  .extend('cluster', { scope: 'worker' }, ({}, { onCleanup }): TestCluster => {
    const cluster = attachCluster(contextOfRun())
    onCleanup(() => cluster.kube.close())
    return cluster
  })
  .extend('kube', { scope: 'worker' }, ({ cluster }): Kube => cluster.kube)
  .extend(
    'eventually',
    ({ task, signal }): Eventually => eventuallyWithin(limitsFromNow(task.timeout, signal)),
  )
  .extend(
    'consistently',
    ({ task, signal }): Consistently => consistentlyWithin(limitsFromNow(task.timeout, signal)),
  )
  .extend('namespace', async ({ cluster, task, signal, annotate }, { onCleanup }): Promise<TestNamespace> => {
    const limits = limitsFromNow(task.timeout, signal)
    const name = fullNameOf(task)
    const { namespace, end } = await leaseNamespace(cluster, contextOfRun(), name, limits)
    onCleanup(async () => {
      const failed = task.result?.state === 'fail'
      const errors = (task.result?.errors ?? []).map(({ message }) => message ?? '')
      const diagnosis = await end({ failed, errors })
      if (diagnosis) await tell(diagnosis, task, annotate)
    })
    return namespace
  })

/** The same as {@link test}. */
export const it = test

function contextOfRun(): MayflyContext {
  const context = inject('mayfly') as MayflyContext | undefined
  if (context) return context
  throw new MayflyError('CLUSTER_NOT_FOUND', 'This Vitest project has no cluster', {
    hint: "Add mayfly() of 'mayfly/vitest' to the project's plugins, or 'mayfly/vitest/global-setup' to its globalSetup",
  })
}

function fullNameOf(task: TestContext['task']): string {
  const names = [task.name]
  for (let suite = task.suite; suite; suite = suite.suite) if (suite.name) names.unshift(suite.name)
  return names.join(' > ')
}

async function tell(
  { text, dir }: Diagnosis,
  task: TestContext['task'],
  annotate: TestContext['annotate'],
): Promise<void> {
  console.error(text)
  const { result } = task
  if (!result) return
  // Vitest allows annotations only while a test runs, and takes a test that failed for one that ended, although
  // its fixtures' cleanup and its hooks are still to come. It looks when it is called, and not later.
  const { state } = result
  result.state = 'run'
  let told: Promise<unknown>
  try {
    told = annotate(text, 'mayfly', { path: `${dir}/summary.txt`, contentType: 'text/plain' })
  } finally {
    result.state = state
  }
  await told
}
