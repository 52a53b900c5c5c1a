import { readFileSync } from 'node:fs'
import { expect, inject } from 'vitest'
import { MayflyError } from '../errors.ts'
import {
  clusterForFile,
  type FileCluster,
  type Isolation,
  isOwn,
  isolationInSource,
  type MayflyContext,
  type TestCluster,
} from '../session/worker.ts'
import './provided-context.ts'

/** What is taken for a file, and by how many of its `test`s: each that a file makes by `test.extend` has fixtures of its own. */
interface Taken {
  users: number
  cluster: Promise<FileCluster>
}

/** By path of the test file: without Vitest's isolation, a worker runs several, one after the other. */
const taken = new Map<string, Taken>()

/** Whether the file that runs has a cluster that is no other file's. */
export function hasOwnCluster(): boolean {
  const run = contextIfAny()
  return run !== undefined && isOwn(isolationOf(currentFile(), run))
}

/**
 * The cluster of the file that runs. Give it back once for each time it is taken.
 *
 * @throws MayflyError what keeps the file from having one; nothing is to be given back then
 */
export async function takeFileCluster(): Promise<TestCluster> {
  const file = currentFile()
  const entry = taken.get(file) ?? { users: 0, cluster: connect(file) }
  taken.set(file, entry)
  entry.users++
  try {
    return (await entry.cluster).cluster
  } catch (thrown) {
    taken.delete(file)
    throw thrown
  }
}

/** What was taken for the file that runs. */
export async function takenFileCluster(): Promise<FileCluster> {
  const entry = taken.get(currentFile())
  if (!entry) throw new Error('a namespace was asked for before its cluster')
  return entry.cluster
}

/** Gives the cluster of the file that runs back; the last who does so lets go of it. */
export async function giveFileClusterBack(): Promise<void> {
  const file = currentFile()
  const entry = taken.get(file)
  if (!entry || --entry.users > 0) return
  taken.delete(file)
  await (await entry.cluster).release()
}

async function connect(file: string): Promise<FileCluster> {
  const failure = inject('mayflyFailure')
  if (failure) {
    throw new MayflyError('CLUSTER_UNFIT', `The cluster could not be brought up to date: ${failure}`)
  }
  const run = contextIfAny()
  if (!run) {
    throw new MayflyError('CLUSTER_NOT_FOUND', 'This Vitest project has no cluster', {
      hint: "Add mayfly() of 'mayfly/vitest' to the project's plugins, or 'mayfly/vitest/global-setup' to its globalSetup",
    })
  }
  return clusterForFile(run, isolationOf(file, run), file)
}

function isolationOf(file: string, run: MayflyContext): Isolation {
  return isolationInSource(readFileSync(file, 'utf8'), file) ?? run.isolation
}

function contextIfAny(): MayflyContext | undefined {
  return inject('mayfly') as MayflyContext | undefined
}

function currentFile(): string {
  const { testPath } = expect.getState()
  if (!testPath) throw new Error('Vitest does not tell which test file runs')
  return testPath
}
