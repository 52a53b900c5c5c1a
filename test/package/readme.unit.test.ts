import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { Command } from 'commander'
import { beforeAll, expect, test } from 'vitest'
import { parse } from 'yaml'
import { buildCommand } from '../../src/cli/commands/build.ts'
import { resolveClusterSpec } from '../../src/config/index.ts'
import { cacheRoot } from '../../src/node-image/cache.ts'
import { isRecent } from '../../src/node-image/toolchain.ts'

const root = resolve(import.meta.dirname, '../..')
const readme = readFileSync(join(root, 'README.md'), 'utf8')

interface Step {
  uses?: string
  run?: string
  with?: Record<string, string | number | boolean>
}

let steps: Step[]

beforeAll(() => {
  const [, workflow] = /```yaml\n(# \.github\/workflows\/[\s\S]*?)```/.exec(readme) ?? []
  steps = (parse(workflow ?? '') as { jobs: { test: { steps: Step[] } } }).jobs.test.steps
})

const stepOf = (action: string) =>
  steps.find(({ uses }) => uses?.startsWith(`actions/${action}@`))?.with ?? {}
const commands = () => steps.flatMap(({ run }) => run ?? [])

test("the workflow's Go builds a node image, and its Node.js runs mayfly", () => {
  expect(isRecent(`go${stepOf('setup-go')['go-version']}.0`)).toBe(true)
  const { engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    engines: { node: string }
  }
  expect(engines.node).toContain(`^${stepOf('setup-node')['node-version']}.`)
})

test('the workflow keeps the cache where mayfly has it', () => {
  expect(String(stepOf('cache')['path']).replace('~', homedir())).toBe(cacheRoot({}))
})

test('the workflow installs what a build calls that runners lack', () => {
  const install = commands().find((command) => command.includes('apt-get install'))
  for (const wanted of ['mmdebstrap', 'libseccomp-dev', 'libcap-dev']) expect(install).toContain(wanted)
})

test('the workflow builds the image with a command that there is', () => {
  expect(commands().some((command) => command.startsWith('npx mayfly build node-image'))).toBe(true)
  const build = buildCommand()
  expect(build).toBeInstanceOf(Command)
  expect(build.commands.map((command) => command.name())).toContain('node-image')
})

test('what the README says for GitLab is an option', async () => {
  const [, address] = /`networking: \{ apiServerAddress: '([^']+)' \}`/.exec(readme) ?? []
  const spec = await resolveClusterSpec({ networking: { apiServerAddress: address ?? '' } }, { env: {} })
  expect(spec.networking.apiServerAddress).toBe('0.0.0.0')
})
