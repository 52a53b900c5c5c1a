import { createRequire } from 'node:module'
import { join } from 'node:path'
import type { Config } from '@jest/types'
import type { readConfigs } from 'jest-config'
import { MayflyError, messageOf } from '../errors.ts'

/**
 * The other projects of a run that have the same globalSetup. Jest tells it of one only, so their configurations are read again,
 * by Jest's own means.
 *
 * @throws MayflyError `CONFIG_UNREADABLE`
 */
export async function projectsBeside(
  { projects }: Config.GlobalConfig,
  project: Config.ProjectConfig,
): Promise<Config.ProjectConfig[]> {
  if (projects.length < 2) return []
  try {
    const { configs } = await jestConfig(project.rootDir).readConfigs({ _: [], $0: 'jest' }, projects)
    return configs.filter(({ id, globalSetup }) => id !== project.id && globalSetup === project.globalSetup)
  } catch (thrown) {
    throw new MayflyError(
      'CONFIG_UNREADABLE',
      `The configurations of Jest's projects can't be read: ${messageOf(thrown)}`,
      { cause: thrown },
    )
  }
}

/** Jest's own copy, which package managers that are strict let nobody but Jest import. */
function jestConfig(rootDir: string): { readConfigs: typeof readConfigs } {
  const path = ['jest', 'jest-cli'].reduce(
    (from, name) => createRequire(from).resolve(`${name}/package.json`),
    join(rootDir, 'package.json'),
  )
  return createRequire(path)('jest-config')
}
