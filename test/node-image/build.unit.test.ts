import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { cached, hashFolder, pruneCache, treeState } from '../../src/node-image/cache.ts'
import { resolveKubernetes } from '../../src/node-image/compile.ts'
import { packageDrift, parseDpkgStatus } from '../../src/node-image/rootfs.ts'
import { explainFailure, isRecent } from '../../src/node-image/toolchain.ts'

let dir: string
const before = process.env['MAYFLY_CACHE_DIR']

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'mayfly-build-'))
  process.env['MAYFLY_CACHE_DIR'] = dir
})

afterEach(async () => {
  if (before === undefined) delete process.env['MAYFLY_CACHE_DIR']
  else process.env['MAYFLY_CACHE_DIR'] = before
  await rm(dir, { recursive: true })
})

const produce = async (draft: string) => writeFile(join(draft, 'result'), 'made')
const steps = () => readdir(join(dir, 'node-image'))

describe('a build step', () => {
  test('runs once for the same inputs, and again for others', async () => {
    const first = await cached('step', { a: 1 }, produce)
    const again = await cached('step', { a: 1 }, () => Promise.reject(new Error('ran again')))
    const other = await cached('step', { a: 2 }, produce)
    expect(first.fresh).toBe(true)
    expect(again).toEqual({ ...first, fresh: false })
    expect(other.key).not.toBe(first.key)
    expect(await readFile(join(again.dir, 'result'), 'utf8')).toBe('made')
  })

  test('is announced only when it runs', async () => {
    const announced: string[] = []
    const announce = (name: string) => async (run: () => Promise<void>) => {
      announced.push(name)
      await run()
    }
    await cached('step', 1, produce, announce('first'))
    await cached('step', 1, produce, announce('second'))
    expect(announced).toEqual(['first'])
  })

  test('that fails leaves nothing, and runs the next time', async () => {
    const failing = cached('step', 1, async (draft) => {
      await produce(draft)
      throw new Error('half-way')
    })
    await expect(failing).rejects.toThrow('half-way')
    expect(await steps()).toEqual([])
    expect((await cached('step', 1, produce)).fresh).toBe(true)
  })

  test('that was killed half-way is cleared away, one that is under way is not', async () => {
    const dead = 2 ** 22 + 1 // above the kernel's highest process id
    await mkdir(join(dir, 'node-image', `old-1234.draft-${dead}`), { recursive: true })
    await mkdir(join(dir, 'node-image', `running-1234.draft-${process.ppid}`), { recursive: true })
    const { key } = await cached('step', 1, produce)
    expect((await steps()).sort()).toEqual([`running-1234.draft-${process.ppid}`, `step-${key}`])
  })

  test('whose result another build made meanwhile takes that', async () => {
    const inner = { key: '' }
    const outer = await cached('step', 1, async (draft) => {
      await produce(draft)
      const rival = draft.replace(/\.draft-.*/, '')
      await mkdir(rival)
      await writeFile(join(rival, 'result'), 'the other build’s')
      inner.key = rival
    })
    expect(outer.dir).toBe(inner.key)
    expect(await readFile(join(outer.dir, 'result'), 'utf8')).toBe('the other build’s')
  })

  test('is kept for a week after its last use', async () => {
    const [used, unused] = [await cached('used', 1, produce), await cached('unused', 1, produce)]
    const eightDaysAgo = new Date(Date.now() - 8 * 86_400_000)
    await utimes(unused.dir, eightDaysAgo, eightDaysAgo)
    await utimes(used.dir, eightDaysAgo, eightDaysAgo)
    await cached('used', 1, produce)
    await pruneCache()
    expect([existsSync(used.dir), existsSync(unused.dir)]).toEqual([true, false])
  })
})

describe('the state of sources', () => {
  test('of a recipe changes with a content', async () => {
    await writeFile(join(dir, 'a.go'), 'one')
    const one = await hashFolder(dir)
    await writeFile(join(dir, 'a.go'), 'two')
    expect(await hashFolder(dir)).not.toEqual(one)
  })

  test('of a checkout changes with a file written, added or removed, and not with git’s own', async () => {
    await mkdir(join(dir, '.git'))
    await mkdir(join(dir, 'pkg'))
    await writeFile(join(dir, 'pkg/a.go'), 'one')
    const states = [await treeState(dir)]
    await writeFile(join(dir, '.git/index'), 'changed')
    expect(await treeState(dir)).toBe(states[0])
    await writeFile(join(dir, 'pkg/a.go'), 'longer')
    states.push(await treeState(dir))
    await writeFile(join(dir, 'pkg/b.go'), '')
    states.push(await treeState(dir))
    await rm(join(dir, 'pkg/a.go'))
    states.push(await treeState(dir))
    expect(new Set(states).size).toBe(4)
  })
})

describe('which Kubernetes to build', () => {
  test('the default, or one of the pinned versions, with or without the v', async () => {
    expect(await resolveKubernetes(undefined)).toEqual({ kind: 'modules', version: 'v1.37.2' })
    expect(await resolveKubernetes('1.35.4')).toEqual({ kind: 'modules', version: 'v1.35.4' })
  })

  test('a version without pins is refused with those that have some', async () => {
    await expect(resolveKubernetes('v1.20.0')).rejects.toThrow(
      /^Kubernetes v1\.20\.0 is not among the versions with pinned modules\n→ Choose v1\.37\.2, v1\.36\.3, v1\.35\.4, v1\.34\.4, or .*--source DIR$/,
    )
  })

  test('a folder that is no checkout is refused by its name', async () => {
    await expect(resolveKubernetes(undefined, dir)).rejects.toThrow(`${dir} is no Kubernetes source checkout`)
  })

  test('a checkout has its version in the file that releases ship, else it is asked for', async () => {
    await mkdir(join(dir, 'staging/src/k8s.io/api'), { recursive: true })
    await writeFile(join(dir, 'staging/src/k8s.io/api/go.mod'), 'module k8s.io/api\n')
    await writeFile(join(dir, 'go.mod'), 'module k8s.io/kubernetes\n\ngo 1.26.0\n')
    await expect(resolveKubernetes(undefined, dir)).rejects.toThrow('--kubernetes v1.37.2')
    await writeFile(join(dir, 'version'), 'v1.38.0-alpha.1\n')
    expect(await resolveKubernetes(undefined, dir)).toEqual({
      kind: 'checkout',
      version: 'v1.38.0-alpha.1',
      dir,
    })
  })
})

describe('the host', () => {
  test.each([
    ['go1.26.8', true],
    ['go1.26rc1', true],
    ['go1.27', true],
    ['go2.0', true],
    ['devel go1.28-abcdef', true],
    ['go1.25.9', false],
    ['go1.9', false],
  ])('Go %s is recent enough: %s', (version, expected) => {
    expect(isRecent(version)).toBe(expected)
  })

  test.each([
    ['go: module lookup disabled by GOPROXY=off', 'Go is told not to fetch modules'],
    ['dial tcp: lookup proxy.example.com: no such host', 'the module proxy is out of reach'],
    ['write /root/.cache/go-build/x: no space left on device', 'The disk is full'],
    ['E: Failed to fetch http://mirror.example.com/x  Temporary failure resolving', 'mirror is out of reach'],
  ])('%j is explained', (output, summary) => {
    expect(explainFailure(output)?.summary).toContain(summary)
  })

  test('a compiler’s error is nobody else’s fault', () => {
    expect(explainFailure('./main.go:3:1: undefined: x')).toBeUndefined()
  })
})

describe('Debian packages', () => {
  const status = `Package: systemd
Status: install ok installed
Version: 252.39-1~deb12u2
Description: system
 and service manager

Package: removed
Status: deinstall ok config-files
Version: 1

Package: bash
Status: install ok installed
Version: 5.2.15-2+b13
`

  test('are those that dpkg calls installed', () => {
    expect(parseDpkgStatus(status)).toEqual([
      { name: 'bash', version: '5.2.15-2+b13' },
      { name: 'systemd', version: '252.39-1~deb12u2' },
    ])
  })

  test('that differ from the written-down ones are named', async () => {
    const pinned = join(dir, 'amd64.json')
    await writeFile(pinned, JSON.stringify({ bash: '5.2.15-2+b13', systemd: '252.38', curl: '7.88' }))
    const packages = [...parseDpkgStatus(status), { name: 'jq', version: '1.6' }]
    expect(
      await packageDrift(
        pinned,
        packages.map((found) => ({ ...found, copyright: '' })),
      ),
    ).toEqual([
      'systemd 252.39-1~deb12u2 instead of 252.38',
      'jq 1.6 instead of none',
      'no curl instead of 7.88',
    ])
  })
})
