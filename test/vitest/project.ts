import { cp, mkdir, mkdtemp, readdir, realpath, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { execa } from 'execa'

const root = resolve(import.meta.dirname, '../..')
const tsc = join(root, 'node_modules/typescript/bin/tsc')

/** Files by their paths within the project. */
export type ProjectFiles = Record<string, string | Uint8Array>

/** A project of a user's: mayfly is installed as it is published, beside a test runner. */
export interface UserProject extends AsyncDisposable {
  dir: string
  /** Starts the test runner; nothing is thrown when it fails. */
  run(argv?: readonly string[], env?: Record<string, string>): UserProjectRun
  write(files: ProjectFiles): Promise<void>
}

/** Where a test runner's package is, and its program. */
export const runners = {
  'Vitest 5': { name: 'vitest', from: 'node_modules/vitest', program: 'vitest.mjs' },
  'Vitest 4.1': { name: 'vitest', from: 'test/vitest/vitest4/node_modules/vitest', program: 'vitest.mjs' },
  'Jest 30': { name: 'jest', from: 'node_modules/jest', program: 'bin/jest.js' },
}

export type Runner = keyof typeof runners

/** Makes a project in a temporary folder. The packages that mayfly depends on are linked to, the package itself is built into it. */
export async function userProject(runner: Runner, files: ProjectFiles): Promise<UserProject> {
  const dir = await mkdtemp(join(await realpath(tmpdir()), 'mayfly-project-'))
  const modules = join(dir, 'node_modules')
  await mkdir(join(modules, 'mayfly'), { recursive: true })
  await Promise.all([
    execa('node', [tsc, '-p', 'tsconfig.build.json', '--outDir', join(modules, 'mayfly/dist')], {
      cwd: root,
    }),
    cp(join(root, 'package.json'), join(modules, 'mayfly/package.json')),
    ...(await installed()).map(async (name) => {
      const from = name === runners[runner].name ? runners[runner].from : join('node_modules', name)
      await mkdir(dirname(join(modules, name)), { recursive: true })
      await symlink(join(root, from), join(modules, name))
    }),
  ])
  const project: UserProject = {
    dir,
    run(argv = [], env = {}) {
      const program = join(modules, runners[runner].name, runners[runner].program)
      return start(dir, program, argv, env)
    },
    async write(changed) {
      for (const [name, content] of Object.entries(changed)) {
        await mkdir(dirname(join(dir, name)), { recursive: true })
        await writeFile(join(dir, name), content)
      }
    },
    async [Symbol.asyncDispose]() {
      await rm(dir, { recursive: true, force: true })
    },
  }
  await project.write({ 'package.json': '{ "private": true, "type": "module" }', ...files })
  return project
}

async function installed(): Promise<string[]> {
  const names = (await readdir(join(root, 'node_modules'))).filter((name) => !name.startsWith('.'))
  const found = names.map(async (name) =>
    name.startsWith('@')
      ? (await readdir(join(root, 'node_modules', name))).map((scoped) => `${name}/${scoped}`)
      : [name],
  )
  return (await Promise.all(found)).flat().filter((name) => name !== 'mayfly')
}

/** Names of the containers of a cluster that the engine has. */
export async function containersOf(cluster: string): Promise<string[]> {
  const filter = `label=io.mayfly.cluster=${cluster}`
  const { stdout } = await execa('docker', ['ps', '--all', '--filter', filter, '--format', '{{.Names}}'])
  return stdout.split('\n').filter(Boolean)
}

function start(cwd: string, program: string, argv: readonly string[], more: Record<string, string>) {
  // What the test runner of this test tells its own workers must not reach the one that it starts.
  const env = { CI: '1', NO_COLOR: '1', FORCE_COLOR: '0', VITEST: undefined, JEST_WORKER_ID: undefined }
  return execa(process.execPath, [program, ...argv], {
    cwd,
    env: { ...env, ...more },
    all: true,
    reject: false,
  })
}

/** A test runner under way. */
export type UserProjectRun = ReturnType<typeof start>

const patienceMs = 90_000

/** Waits until a running program has printed all that is wanted, from now on, and returns what it printed. */
export async function output(run: UserProjectRun, ...wanted: RegExp[]): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  let seen = ''
  const read = (chunk: Buffer) => {
    seen += chunk.toString()
    if (wanted.every((pattern) => pattern.test(seen))) resolve()
  }
  run.all.on('data', read)
  const missing = (how: string) => reject(new Error(`${how} without ${wanted.join(' and ')}:\n${seen}`))
  run.then(() => missing('it ended'))
  const timer = setTimeout(missing, patienceMs, 'it was waited for')
  try {
    await promise
    return seen
  } finally {
    clearTimeout(timer)
    run.all.off('data', read)
  }
}
