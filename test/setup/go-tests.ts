// Runs the Go tests of everything that is ours and keeps their events for `count.mjs`.
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { kubernetesModule } from '../../src/node-image/compile.ts'
import { testedPackages } from '../../src/node-image/kubernetes-changes.ts'
import { recipeDir } from '../../src/node-image/mayfly-node.ts'
import { kubernetesVersions } from '../../src/node-image/recipe.ts'

const results = fileURLToPath(new URL('../../.mayfly/results', import.meta.url))
let events = ''
let status = 0

function test(cwd: string, packages: readonly string[], flags: readonly string[] = []): void {
  const tested = spawnSync('go', ['test', '-json', ...flags, ...packages], {
    cwd,
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  if (tested.error) throw tested.error
  events += tested.stdout
  status ||= tested.status ?? 1
}

for (const module of ['mayfly-node', 'rest', 'containerd'])
  test(join(recipeDir, module), ['./...'], ['-trimpath'])

// What stands beside Kubernetes' own files is tested where it is compiled.
const scratch = mkdtempSync(join(tmpdir(), 'mayfly-go-tests-'))
try {
  const source = { kind: 'modules', version: kubernetesVersions[0] } as const
  const { dir, flags } = await kubernetesModule(source, { sources: recipeDir }, join(scratch, 'source'))
  // As the node image is compiled, so that Go has most of it already.
  test(dir, testedPackages(join(recipeDir, 'kubernetes/added')), [...flags, '-trimpath', '-vet=off'])
} finally {
  rmSync(scratch, { recursive: true, force: true })
}

mkdirSync(results, { recursive: true })
writeFileSync(join(results, 'go.json'), events)
for (const line of events.split('\n').filter(Boolean)) {
  const { Action, Package, Test, Output } = JSON.parse(line)
  if (!Test && (Action === 'pass' || Action === 'fail')) console.log(`${Action}  ${Package}`)
  const tells =
    Action === 'build-output' || (Action === 'output' && /FAIL|Error|panic|_test\.go/.test(Output))
  if (status !== 0 && tells) process.stdout.write(Output)
}
process.exit(status)
