import { readFileSync } from 'node:fs'
import type { TestProject } from 'vitest/node'
import { type ExpectedFiles, type Isolation, isOwn, isolationInSource } from '../session/index.ts'

/** How many of a run's files are a project's and will ask for a cluster of their own. */
export function expectedFiles(
  project: TestProject,
  paths: readonly string[],
  byDefault: Isolation,
): Required<ExpectedFiles> {
  const expected = { rollback: 0, cluster: 0 }
  for (const path of paths) {
    if (!project.matchesTestGlob(path)) continue
    const isolation = chosenBy(path) ?? byDefault
    if (isOwn(isolation)) expected[isolation]++
  }
  return expected
}

/** A file that chooses what does not exist fails when it runs, and says why. */
function chosenBy(path: string): Isolation | undefined {
  try {
    return isolationInSource(readFileSync(path, 'utf8'), path)
  } catch {
    return undefined
  }
}
