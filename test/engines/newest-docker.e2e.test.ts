import { join } from 'node:path'
import { execa } from 'execa'
import { beforeAll, expect, test } from 'vitest'
import { newestDocker } from './newest-docker.ts'
import { canRunEngine } from './private-engine.ts'

const minutes = 60_000
const main = join(import.meta.dirname, 'main.ts')

beforeAll(() => newestDocker(), 20 * minutes)

test.runIf(canRunEngine())(
  'with the Docker engine of today, too, pods run from the layers of its own store, and it keeps them',
  async () => {
    const { exitCode, all } = await execa(process.execPath, [main, 'test/images/pods.e2e.test.ts'], {
      ...{ all: true, reject: false },
    })
    expect(all).toMatch(/Tests .*4 passed/)
    expect(exitCode).toBe(0)
  },
)
