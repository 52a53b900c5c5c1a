import { chmod, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { execa } from 'execa'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { connectEngine, imageExists } from '../../src/engine/index.ts'
import { cacheRoot } from '../../src/node-image/cache.ts'

const main = join(import.meta.dirname, '../../src/cli/main.ts')
const image = 'mayfly-test/never-built:1'
let dir: string
let bin: string

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'mayfly-broken-'))
  bin = join(dir, 'bin')
  await mkdir(bin)
})

afterEach(async () => {
  // Nothing half-done is ever tagged.
  expect(await imageExists(await connectEngine(), image)).toBe(false)
  await execa('chmod', ['-R', 'u+w', dir]) // Go's module cache is read-only
  await rm(dir, { recursive: true })
})

/** Runs `mayfly build node-image` and gives what it printed on standard error. */
async function failingBuild(args: string[], env: Record<string, string> = {}): Promise<string> {
  const { exitCode, stderr, stdout } = await execa(
    process.execPath,
    [main, 'build', 'node-image', `--image=${image}`, ...args],
    { reject: false, env: { MAYFLY_CACHE_DIR: join(dir, 'cache'), ...env } },
  )
  expect(exitCode).toBe(1)
  expect(stdout).toBe('')
  return stderr
}

/** A folder of programs with everything but the ones named, for PATH. */
async function everythingBut(...left: string[]): Promise<string> {
  for (const folder of (process.env['PATH'] ?? '').split(':').reverse()) {
    for (const name of await readdir(folder).catch(() => [])) {
      if (left.includes(name)) continue
      await rm(join(bin, name), { force: true })
      await symlink(join(folder, name), join(bin, name))
    }
  }
  return bin
}

const sentence = (stderr: string) => stderr.split('\n')[0]

// The last two tests use the user's own cache: the root file system in it saves them two minutes.
describe('a build says in a sentence what is missing', () => {
  test('Go', async () => {
    const stderr = await failingBuild([], { PATH: await everythingBut('go') })
    expect(sentence(stderr)).toBe(
      'Error: Building a node image needs Go 1.26 or newer, which is not on the PATH (see go.dev/dl)',
    )
  })

  test('a newer Go', async () => {
    const path = await everythingBut('go')
    await writeFile(join(bin, 'go'), '#!/bin/sh\necho go1.22.1\n')
    await chmod(join(bin, 'go'), 0o755)
    expect(sentence(await failingBuild([], { PATH: path }))).toBe(
      'Error: Building a node image needs Go 1.26 or newer; go1.22.1 was found',
    )
  })

  test('every other tool at once, and the package that has it', async () => {
    const stderr = await failingBuild([], { PATH: await everythingBut('mmdebstrap', 'gcc') })
    expect(sentence(stderr)).toContain(
      'mmdebstrap (apt-get install mmdebstrap); and gcc (apt-get install gcc)',
    )
  })

  test('a container engine', async () => {
    const stderr = await failingBuild([], { DOCKER_HOST: `unix://${join(dir, 'nothing.sock')}` })
    expect(sentence(stderr)).toContain(join(dir, 'nothing.sock'))
    expect(await readdir(join(dir, 'cache'))).toEqual([])
  })

  test('disk', async () => {
    const cache = join(dir, 'cache')
    await mkdir(cache)
    await execa('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'tmpfs', cache])
    try {
      expect(sentence(await failingBuild([]))).toBe(
        `Error: Building a node image needs 8 GiB of free disk; ${cache} has 0.0 GiB`,
      )
    } finally {
      await execa('umount', [cache])
    }
  })

  test('the module proxy', async () => {
    const stderr = await failingBuild(['--bill-of-materials'], {
      MAYFLY_CACHE_DIR: cacheRoot(),
      GOMODCACHE: join(dir, 'modules'),
      GOPROXY: 'http://127.0.0.1:9',
    })
    expect(stderr).toContain('Error: Go modules cannot be fetched: the module proxy is out of reach\n→ Check')
  })

  test('modules, where Go may not fetch any', async () => {
    const stderr = await failingBuild(['--bill-of-materials'], {
      MAYFLY_CACHE_DIR: cacheRoot(),
      GOMODCACHE: join(dir, 'modules'),
      GOPROXY: 'off',
    })
    expect(stderr).toContain('Error: Go is told not to fetch modules (GOPROXY=off)')
  })
})

describe('a build refuses', () => {
  test('a version that has no pins', async () => {
    expect(sentence(await failingBuild(['--kubernetes', 'v1.12.0']))).toBe(
      'Error: Kubernetes v1.12.0 is not among the versions with pinned modules',
    )
  })

  test('a source folder that is no checkout', async () => {
    expect(sentence(await failingBuild(['--source', dirname(main)]))).toBe(
      `Error: ${dirname(main)} is no Kubernetes source checkout`,
    )
  })

  test('an architecture that there is no image for', async () => {
    expect(await failingBuild(['--arch', 'mips'])).toContain('Allowed choices are amd64, arm64')
  })
})
