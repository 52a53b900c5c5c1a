// Runs the Go tests of everything that is ours and keeps their events for `count.mjs`.
import { spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))
let events = ''
let status = 0
for (const module of ['mayfly-node', 'rest']) {
  const tested = spawnSync('go', ['test', '-json', './...'], {
    cwd: `${root}/node-image/${module}`,
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  if (tested.error) throw tested.error
  events += tested.stdout
  status ||= tested.status ?? 1
}
mkdirSync(`${root}/.mayfly/results`, { recursive: true })
writeFileSync(`${root}/.mayfly/results/go.json`, events)
for (const line of events.split('\n').filter(Boolean)) {
  const { Action, Package, Test, Output } = JSON.parse(line)
  if (!Test && (Action === 'pass' || Action === 'fail')) console.log(`${Action}  ${Package}`)
  if (status !== 0 && Action === 'output' && /FAIL|Error|panic|_test\.go/.test(Output))
    process.stdout.write(Output)
}
process.exit(status)
