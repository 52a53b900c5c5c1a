/** Jest's preset: `preset: 'mayfly/jest'`. Options go to `testEnvironmentOptions.mayfly`. */
import { fileURLToPath } from 'node:url'
import { requireNode } from '../node-version.ts'
import { testTimeoutMs } from './run-state.ts'

requireNode()

const extension = import.meta.url.slice(import.meta.url.lastIndexOf('.'))
const path = (name: string) => fileURLToPath(new URL(`./${name}${extension}`, import.meta.url))

const preset = {
  globalSetup: path('global-setup'),
  globalTeardown: path('global-teardown'),
  testEnvironment: path('environment'),
  testTimeout: testTimeoutMs,
}

export default preset
