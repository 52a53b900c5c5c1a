// Runs the Go tests of everything that is ours and keeps their events for `count.mjs`.
import { spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))
const { stdout, status, error } = spawnSync('go', ['test', '-json', './...'], {
  cwd: `${root}/node-image/mayfly-node`,
  encoding: 'utf8',
  maxBuffer: 2 ** 28,
  stdio: ['ignore', 'pipe', 'inherit'],
})
if (error) throw error
mkdirSync(`${root}/.mayfly/results`, { recursive: true })
writeFileSync(`${root}/.mayfly/results/go.json`, stdout)
for (const line of stdout.split('\n').filter(Boolean)) {
  const { Action, Package, Test, Output } = JSON.parse(line)
  if (!Test && (Action === 'pass' || Action === 'fail')) console.log(`${Action}  ${Package}`)
  if (status !== 0 && Action === 'output' && /FAIL|Error|panic|_test\.go/.test(Output))
    process.stdout.write(Output)
}
process.exit(status ?? 1)
