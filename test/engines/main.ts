/**
 * Runs e2e tests with the Docker engine of today instead of the host's: `npm run test:newest-docker -- FILTER...`, where the
 * filters are Vitest's. The engine has a folder and a network of its own, and both go in the end.
 */
import { join } from 'node:path'
import { DEFAULT_NODE_IMAGE } from '../../src/config/index.ts'
import { newestDocker } from './newest-docker.ts'
import { startPrivateEngine } from './private-engine.ts'

const root = join(import.meta.dirname, '../..')
const filters = process.argv.slice(2)
console.log('Build the engine (minutes the first time)')
const programs = await newestDocker()
await using engine = await startPrivateEngine(process.env['MAYFLY_NODE_IMAGE'] || DEFAULT_NODE_IMAGE, {
  programs,
})
console.log(`Run with Docker ${await engine.docker('version', '--format', '{{.Server.Version}}')}`)
const vitest = join(root, 'node_modules/vitest/vitest.mjs')
process.exitCode = await engine.run(vitest, [
  'run',
  '--root',
  root,
  '--project',
  'kube',
  '--project',
  'e2e',
  ...filters,
])
