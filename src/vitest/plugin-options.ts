import type { TestProject } from 'vitest/node'
import type { MayflyOptions } from '../session/index.ts'

const place = Symbol.for('mayfly.vitest.options')

/** Beside the projects, because functions among the options cannot travel through `provide`. */
function optionsByProject(): WeakMap<TestProject, MayflyOptions> {
  const global = globalThis as { [place]?: WeakMap<TestProject, MayflyOptions> }
  global[place] ??= new WeakMap()
  return global[place]
}

/** Remembers what the plugin was given for a project. */
export function rememberOptions(project: TestProject, options: MayflyOptions): void {
  optionsByProject().set(project, options)
}

/** What the plugin was given for a project, if there is a plugin. */
export function optionsOfPlugin(project: TestProject): MayflyOptions | undefined {
  return optionsByProject().get(project)
}
