/** Jest's preset: `preset: 'mayfly/jest'`. Options go to `testEnvironmentOptions.mayfly`. */
import { fileURLToPath } from 'node:url'
import { requireNode } from '../node-version.ts'

requireNode()

const extension = import.meta.url.slice(import.meta.url.lastIndexOf('.'))
const path = (name: string) => fileURLToPath(new URL(`./${name}${extension}`, import.meta.url))

/** Jest takes a preset's `testTimeout` for the whole run; pods take seconds to start, so Jest's 5 s are no measure. */
const preset = {
  globalSetup: path('global-setup'),
  globalTeardown: path('global-teardown'),
  testEnvironment: path('environment'),
  testTimeout: 60_000,
}

export default preset
