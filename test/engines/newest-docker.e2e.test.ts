import { join } from 'node:path'
import { execa } from 'execa'
import { expect, test } from 'vitest'
import { canRunEngine } from './private-engine.ts'

const minutes = 60_000
const main = join(import.meta.dirname, 'main.ts')

test.runIf(canRunEngine())(
  'with the Docker engine of today, too, pods run from the layers of its own store, and it keeps them',
  async () => {
    const pods = execa(process.execPath, [main, 'test/images/pods.e2e.test.ts'], { all: true, reject: false })
    const { exitCode, all } = await pods
    expect(all).toMatch(/Tests .*4 passed/)
    expect(exitCode).toBe(0)
  },
  // The engine is built from source the first time.
  20 * minutes,
)
