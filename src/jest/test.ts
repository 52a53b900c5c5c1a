/** Jest's `test` and `expect` with a cluster, and the cluster itself, for test files that are ES modules. */
import type { JestHelpers } from './helpers.ts'

export type * from '../session/worker.ts'
export type { JestHelpers, MayflyExpect, MayflyFixtures, MayflyTest } from './helpers.ts'

const { __MAYFLY__: helpersOfRun } = globalThis as { __MAYFLY__?: () => JestHelpers }
if (!helpersOfRun) {
  throw new Error("mayfly/jest/test works in test files that run with `preset: 'mayfly/jest'` only")
}

/** Its tests get `{ cluster, kube, namespace, eventually, consistently, signal }`. */
export const { test, it, expect, cluster, kube, mayfly, kubeconfig } = helpersOfRun()
