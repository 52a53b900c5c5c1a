/**
 * Vitest's `test` and `expect` with a cluster: the fixtures `cluster`, `kube`, `namespace`, `eventually` and `consistently`.
 * What a file shares with others is told by `@mayfly-isolation` in its first comment, or by the plugin's options.
 */
import {
  type Assertion,
  test as base,
  type ExpectStatic,
  type TestContext,
  expect as vitestExpect,
  inject as vitestInject,
} from 'vitest'
import { MayflyError } from '../errors.ts'
import type { Kube } from '../kube/index.ts'
import {
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
import { giveFileClusterBack, hasOwnCluster, takeFileCluster, takenFileCluster } from './file-cluster.ts'
import './provided-context.ts'

export { describe, vi } from 'vitest'
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
 * Vitest's `inject`. What it gives of the cluster is about the one that files share, so a file with a cluster of its own is
 * refused it.
 *
 * @throws MayflyError `CONFIG_INVALID`
 * @public
 */
export const inject: typeof vitestInject = (key) => {
  if ((key === 'kubeconfig' || key === 'mayfly') && hasOwnCluster()) {
    throw new MayflyError(
      'CONFIG_INVALID',
      `inject('${key}') is about the cluster that files share, and this file has one of its own`,
      { hint: 'Use the fixture `cluster`, in tests or in test.beforeAll; it has a `kubeconfig` as well' },
    )
  }
  return vitestInject(key)
}

/**
 * Vitest's `test`, with a cluster. Nothing is made for a test that asks for none of it.
 *
 * @public
 */
export const test = base
  // biome-ignore lint/correctness/noEmptyPattern: Vitest reads the names of what a fixture needs off the pattern
  .extend('cluster', { scope: 'file' }, async ({}, { onCleanup }): Promise<TestCluster> => {
    const cluster = await takeFileCluster()
    onCleanup(giveFileClusterBack)
    return cluster
  })
  .extend('kube', { scope: 'file' }, ({ cluster }): Kube => cluster.kube)
  .extend(
    'eventually',
    ({ task, signal }): Eventually => eventuallyWithin(limitsFromNow(task.timeout, signal)),
  )
  .extend(
    'consistently',
    ({ task, signal }): Consistently => consistentlyWithin(limitsFromNow(task.timeout, signal)),
  )
  .extend(
    'namespace',
    async ({ cluster: _, task, signal, annotate }, { onCleanup }): Promise<TestNamespace> => {
      const limits = limitsFromNow(task.timeout, signal)
      const name = fullNameOf(task)
      const { namespace, end } = await leaseNamespace(await takenFileCluster(), name, limits)
      onCleanup(async () => {
        const failed = task.result?.state === 'fail'
        const errors = (task.result?.errors ?? []).map(({ message }) => message ?? '')
        const diagnosis = await end({ failed, errors })
        if (diagnosis) await tell(diagnosis, task, annotate)
      })
      return namespace
    },
  )

/** The same as {@link test}. */
export const it = test

// A cluster of the file's own may have to be made first, or wait for others to end: here no test's time-out counts.
if (hasOwnCluster()) test.beforeAll(({ cluster: _ }) => undefined, 0)

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
