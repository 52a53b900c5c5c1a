import type { expect as jestExpect } from '@jest/globals'
import type { Kube } from '../kube/index.ts'
import type {
  Consistently,
  Eventually,
  KubeMatchers,
  MayflyContext,
  ObjectHandle,
  TestCluster,
  TestNamespace,
} from '../session/worker.ts'

/**
 * What a test is given.
 *
 * @public
 */
export interface MayflyFixtures {
  cluster: TestCluster
  /** A connection to the API server, with the typed clients of `@kubernetes/client-node`. */
  kube: Kube
  /** A namespace of the test's own. */
  namespace: TestNamespace
  eventually: Eventually
  consistently: Consistently
  /** Fires when the test is over or has timed out. */
  signal: AbortSignal
}

/** A test with a namespace of its own; else as Jest's `test`. */
export interface MayflyTestCall {
  (name: string, run: (fixtures: MayflyFixtures) => unknown, timeoutMs?: number): void
  each: MayflyEach
}

/** Jest's `test.each`, whose tests get their fixtures after the values of the row. */
export interface MayflyEach {
  <Row extends readonly [unknown, ...unknown[]] | readonly unknown[]>(rows: readonly Row[]): RowTest<[...Row]>
  <Value>(values: readonly Value[]): RowTest<[Value]>
  (headings: TemplateStringsArray, ...cells: unknown[]): RowTest<[Record<string, unknown>]>
}

type RowTest<Row extends unknown[]> = (
  name: string,
  run: (...values: [...Row, MayflyFixtures]) => unknown,
  timeoutMs?: number,
) => void

/** {@link MayflyTestCall}, and the same for what is meant to fail. */
interface MayflyTestForm extends MayflyTestCall {
  failing: MayflyTestCall
}

/** Jest's `test`, with a cluster. */
export interface MayflyTest extends MayflyTestForm {
  only: MayflyTestForm
  skip: MayflyTestForm
  /** Tests that run at the same time, each in its own namespace. */
  concurrent: MayflyTestForm & { only: MayflyTestForm; skip: MayflyTestForm }
  todo(name: string): void
}

/** What `expect` offers for an object of the cluster. */
export type KubeAssertion = KubeMatchers & { not: KubeMatchers }

/** Jest's `expect`, with matchers for `namespace.deployment('web')` and its like. */
export type MayflyExpect = (<T extends object>(handle: ObjectHandle<T>) => KubeAssertion) & typeof jestExpect

/**
 * What `mayfly/jest/test` exports.
 *
 * @public
 */
export interface JestHelpers {
  test: MayflyTest
  it: MayflyTest
  expect: MayflyExpect
  cluster: TestCluster
  kube: Kube
  mayfly: MayflyContext
  kubeconfig: string
}

/** Where the test environment leaves them for test files. */
export const helpersGlobal = '__MAYFLY__'
