import { cp, mkdtemp, readFile, realpath, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { execa, type Options } from 'execa'
import { afterAll, beforeAll, expect, test } from 'vitest'

const root = resolve(import.meta.dirname, '../..')

/** Folder with the packed package and a copy of the controller's repository that has installed it. */
let dir: string
let repo: string

beforeAll(async () => {
  dir = await mkdtemp(join(await realpath(tmpdir()), 'mayfly-package-'))
  repo = join(dir, 'page-operator')
  const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', dir], { cwd: root })
  const [{ filename }] = JSON.parse(stdout.slice(stdout.indexOf('[\n'))) as [{ filename: string }]
  await cp(join(root, 'fixtures/controller'), repo, {
    recursive: true,
    filter: (path) => !/\/(node_modules|bin)$/.test(path),
  })
  await run('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', '-D', join(dir, filename)])
})

afterAll(() => rm(dir, { recursive: true, force: true }))

/** Runs a command as a user would; what the runner of this test tells its own workers must not reach the one that it starts. */
function run(command: string, argv: string[], options: Options = {}) {
  const env = { CI: '1', NO_COLOR: '1', FORCE_COLOR: '0', VITEST: undefined }
  return execa(command, argv, { cwd: repo, env, preferLocal: true, all: true, ...options }) as Promise<{
    stdout: string
    all: string
    exitCode: number
  }>
}

test('its types pass a strict consumer, who checks the types of libraries as well', async () => {
  await writeFile(
    join(repo, 'test/e2e/consumer.ts'),
    `
    import { type Cluster, createCluster, isMayflyError, type MayflyErrorCode } from 'mayfly'
    import { type ImageSource, type ManifestSource, type MayflyOptions, mayfly } from 'mayfly/vitest'
    import setup from 'mayfly/vitest/global-setup'
    import { expect, type TestNamespace, test } from 'mayfly/vitest/test'
    import { inject } from 'vitest'
    import type { Page } from './page.ts'

    export async function use(images: ImageSource[], manifests: ManifestSource[]): Promise<MayflyErrorCode | string> {
      const options: MayflyOptions = { images, manifests, config: { nodes: [{ role: 'worker' }] } }
      const plugins = [mayfly(options), setup.name]
      try {
        await using cluster: Cluster = await createCluster({ nodes: ['control-plane'] })
        return cluster.kubeconfigPath + plugins.length + inject('kubeconfig') + inject('mayfly').nodes[0]?.role
      } catch (thrown) {
        return isMayflyError(thrown) ? thrown.code : 'unknown'
      }
    }

    export async function observe(namespace: TestNamespace): Promise<string | undefined> {
      const page = namespace.object<Page>('page/hello')
      await expect(page, 'with a message').not.toHaveCondition('Available', { status: 'False', timeoutMs: 1 })
      await expect(namespace.pod('web')).toBecomeAvailable({ timeoutMs: 1 })
      // @ts-expect-error: it is no object of the cluster
      expect(1).toBecomeAvailable()
      expect((await page.get()).status?.readyReplicas).toBe(1)
      return (await page.get()).status?.url
    }

    test.for([1])('one of many', async (_, { namespace, kube }) => {
      expect((await kube.core.listNode()).items[0]?.metadata?.name).not.toBe(namespace.name)
    })
    `,
  )
  const { all, exitCode } = await run('tsc', [], { reject: false })
  expect(all).toBe('')
  expect(exitCode).toBe(0)
})

test('the suite of a controller passes, and a test that fails tells why, with the log of the controller', async () => {
  await writeFile(
    join(repo, 'test/e2e/broken.test.ts'),
    `
    import { expect, test } from 'mayfly/vitest/test'
    import { page } from './page.ts'

    test('waits for a page that nobody can serve', async ({ namespace }) => {
      await namespace.apply(page({ text: 'hi', image: 'no/such-server:1' }))
      await expect(namespace.object('page/hello')).toHaveCondition('Available', { timeoutMs: 6000 })
    })`,
  )
  await run('npm', ['run', 'build'])

  const { all, exitCode } = await run('vitest', ['run', '--no-file-parallelism'], { reject: false })

  expect(all).toMatch(/Tests +1 failed \| 8 passed \(9\)/)
  expect(exitCode).toBe(1)
  expect(all).toMatch(/✓ Load 2 images/)
  expect(all).toMatch(/Waited 6 s for Page \S+\/hello to have condition Available=True/)
  expect(all).toContain('0 of 1 servers answer')
  expect(all).toContain('no/such-server:1')
  expect(all).toMatch(/Log of page-operator-system\/page-operator-controller-manager-\S+\/manager/)
  const summary = join(repo, '.mayfly/waits-for-a-page-that-nobody-can-serve/summary.txt')
  expect(await readFile(summary, 'utf8')).toContain('"reconciling"')
})
