import { execa } from 'execa'
import { expect, test } from 'vitest'

// The demo is the README's first command: what it shows has to be so.
test('npm run demo passes the dumper suite on a real three-node cluster', async () => {
  const { all, exitCode } = await execa('npm', ['run', 'demo'], {
    all: true,
    reject: false,
    env: { NO_COLOR: '1', FORCE_COLOR: undefined, VITEST: undefined, CI: 'true' },
  })
  expect(all).toMatch(/Tests\s+\d+ passed \(\d+\)/)
  expect(all).toContain('Start 3 nodes')
  expect(exitCode).toBe(0)
})
