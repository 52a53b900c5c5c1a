#!/usr/bin/env node
import { readFileSync } from 'node:fs'
import { Command } from 'commander'
import { isMayflyError } from '../errors.ts'
import { buildCommand } from './commands/build.ts'
import { cleanCommand } from './commands/clean.ts'
import { createCommand } from './commands/create.ts'
import { deleteCommand } from './commands/delete.ts'
import { exportCommand } from './commands/export.ts'
import { getCommand } from './commands/get.ts'
import { loadCommand } from './commands/load.ts'

const packageFile = new URL('../../package.json', import.meta.url)
const { version } = JSON.parse(readFileSync(packageFile, 'utf8')) as { version: string }

const program = new Command('mayfly')
  .description('Ephemeral multi-node Kubernetes clusters for tests.')
  .version(version)
  .showHelpAfterError('(add --help for what there is)')
  .addCommand(createCommand())
  .addCommand(deleteCommand())
  .addCommand(getCommand())
  .addCommand(loadCommand())
  .addCommand(exportCommand())
  .addCommand(cleanCommand())
  .addCommand(buildCommand())

try {
  await program.parseAsync()
} catch (thrown) {
  // An error of ours tells all there is to know; of any other the place in the code matters.
  console.error(isMayflyError(thrown) ? `Error: ${thrown.message}` : thrown)
  process.exitCode = 1
}
