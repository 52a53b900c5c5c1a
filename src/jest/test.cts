/** The same as `test.ts`, for test files that are CommonJS, as Jest makes them by default. */
import type { JestHelpers } from './helpers.ts' with { 'resolution-mode': 'import' }

const { __MAYFLY__: helpersOfRun } = globalThis as { __MAYFLY__?: () => JestHelpers }
if (!helpersOfRun) {
  throw new Error("mayfly/jest/test works in test files that run with `preset: 'mayfly/jest'` only")
}

const helpers: JestHelpers = helpersOfRun()

// @ts-expect-error TS1294: Node's type stripping cannot do it, but Jest only ever loads what tsc made of this file.
export = helpers
