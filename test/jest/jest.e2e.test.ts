import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { expect, test, vi } from 'vitest'
import { containersOf, output, userProject } from '../vitest/project.ts'

/** Jest takes a package without `"type": "module"` for CommonJS, which is its default. */
function packageJson(mayfly: object): string {
  return JSON.stringify({
    private: true,
    jest: { preset: 'mayfly/jest', testEnvironmentOptions: { mayfly } },
  })
}

test('Jest: tests get a cluster, failures explain themselves', async () => {
  const name = `jest-${process.pid}`
  await using project = await userProject('Jest 30', {
    'package.json': packageJson({ name, manifests: ['shared.yaml'] }),
    'shared.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata: { name: shared }\n',
    'one.test.js': `
      const { cluster, expect, kube, kubeconfig, mayfly, test } = require('mayfly/jest/test')

      test('the context is there, and so are the manifests', async ({ eventually }) => {
        expect(kubeconfig).toBe(cluster.kubeconfig)
        expect(mayfly.name).toBe('${name}')
        await eventually(async () => expect((await kube.core.listNode()).items).toHaveLength(1))
        await expect(cluster.object('configmap/shared', 'default')).toExist()
        await expect(cluster.object('configmap/nothing', 'default')).not.toExist()
      })

      test('fails because there is no such image', async ({ namespace }) => {
        await namespace.apply({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'bad' }, spec: {
          containers: [{ name: 'bad', image: 'nope/nope:1', imagePullPolicy: 'Never' }] } })
        await expect(namespace.pod('bad')).toBecomeAvailable()
      }, 8000)

      test.each([[1, 'one'], [2, 'two']])('row %i', (number, word, { namespace }) => {
        expect(word).toHaveLength(3)
        expect(namespace.name).toContain('row-' + number)
      })
      test.each\`
        word | length
        \${'three'} | \${5}\`('$word', ({ word, length }, { namespace }) => {
        expect(word).toHaveLength(length)
        expect(namespace.name).toContain(word)
      })
      test.failing('fails, as it should', ({ namespace }) => expect(namespace.name).toBe('default'))
      test.skip('is skipped', () => { throw new Error('it ran') })
      test.todo('is to be written')

      test('times out', async ({ namespace }) => { await new Promise(() => {}) }, 2000)`,
    'two.test.js': `
      const { expect, test } = require('mayfly/jest/test')
      test('a worker of its own, the same cluster', ({ cluster, namespace }) => {
        expect(cluster.name).toBe('${name}')
        expect(namespace.name).toMatch(/^a-worker-of-its-own-the-same-cluster-/)
      })

      const met = new Set()
      describe('side by side', () => {
        test.concurrent.each(['a', 'b'])('%s', async (own, { namespace, eventually }) => {
          met.add(own)
          expect(namespace.name).toMatch(new RegExp('^side-by-side-' + own))
          await eventually(() => expect(met).toEqual(new Set(['a', 'b'])))
        })
      })`,
  })

  const { all, exitCode } = await project.run(['--maxWorkers=2'])

  expect(all).toMatch(/Tests: +2 failed, 1 skipped, 1 todo, 8 passed, 12 total/)
  expect(exitCode).toBe(1)
  expect(all.match(/✓ Start the node/g)).toHaveLength(1)
  expect(all).toMatch(/Waited [67](\.\d+)? s for Pod \S+\/bad to be available/)
  expect(all).toContain('waiting: ErrImageNeverPull')
  expect(await readdir(join(project.dir, '.mayfly/times-out'))).toContain('summary.txt')
  expect(all).toContain(`✓ Delete cluster ${name}`)
  expect(await containersOf(name)).toEqual([])
})

test('Jest: a cluster that cannot be made fails the run with the reason, and runs no test', async () => {
  await using project = await userProject('Jest 30', {
    'package.json': packageJson({ image: 'no/such-node:1' }),
    'a.test.js': `test('a', () => console.log('it ran'))`,
  })
  const { all, exitCode } = await project.run()
  expect(exitCode).toBe(1)
  expect(all).toContain('has no image "no/such-node:1"')
  expect(all).not.toContain('it ran')
})

test('Jest: projects that ask for something else have a cluster of their own', async () => {
  const name = `jest-projects-${process.pid}`
  const project = (own: string, mayfly: object) => ({
    displayName: own,
    preset: 'mayfly/jest',
    testMatch: [`<rootDir>/${own}.test.js`],
    testEnvironmentOptions: { mayfly },
  })
  const file = (nodes: number) => `
    const { cluster, expect, kube, mayfly, test } = require('mayfly/jest/test')
    test('a', async ({ namespace }) => {
      expect(mayfly.name).toBe(cluster.name)
      expect((await kube.core.listNode()).items).toHaveLength(${nodes})
      console.log(namespace.name.slice(0, 1) + ' is in ' + cluster.name)
    })`
  await using user = await userProject('Jest 30', {
    'package.json': JSON.stringify({
      private: true,
      jest: {
        projects: [
          project('one', { name }),
          project('same', { name }),
          project('other', { name: `${name}-other`, nodes: ['control-plane', 'worker'] }),
        ],
      },
    }),
    'one.test.js': file(1),
    'same.test.js': file(1),
    'other.test.js': file(2),
  })

  const { all, exitCode } = await user.run(['--maxWorkers=2'])

  expect(all).toMatch(/Tests: +3 passed, 3 total/)
  expect(exitCode).toBe(0)
  const clusters = [...all.matchAll(/a is in (\S+)/g)].map(([, cluster = '']) => cluster)
  expect(clusters.sort()).toEqual([name, name, `${name}-other`])
  for (const cluster of clusters) expect(await containersOf(cluster)).toEqual([])
})

test('Jest: files with a cluster of their own find it clean, also after a worker that was killed', async () => {
  const name = `jest-iso-${process.pid}`
  const file = (own: string, comment = '') => `${comment}
    const { cluster, expect, kubeconfig, mayfly, test } = require('mayfly/jest/test')
    test('finds no traces, and leaves some', async ({ kube, namespace }) => {
      expect(kubeconfig).toBe(cluster.kubeconfig)
      expect(mayfly).toMatchObject({ name: cluster.name, isolation: '${comment ? 'cluster' : 'rollback'}' })
      const { items } = await kube.core.listNamespace()
      expect(items.filter(({ metadata }) => metadata.name.startsWith('trace-'))).toEqual([])
      await kube.core.createNamespace({ body: { metadata: { name: 'trace-${own}' } } })
      await namespace.apply({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a' } })
      console.log('${own} has ' + cluster.name)
    })`
  await using project = await userProject('Jest 30', {
    'package.json': packageJson({ name, isolation: 'rollback', maxClusters: 2 }),
    'one.test.js': file('one'),
    'two.test.js': file('two'),
    'dies.test.js': `${file('dies')}
      test('kills its worker', () => { process.kill(process.pid, 'SIGKILL') })`,
    'fresh.test.js': file('fresh', '/** @mayfly-isolation cluster */'),
    'misspelt.test.js': '/** @mayfly-isolation fresh */\ntest("a", () => {})',
  })

  const { all } = await project.run(['--maxWorkers=2'])

  expect(all).toMatch(/Tests: +3 passed, 3 total/)
  expect(all).toContain('signal=SIGKILL')
  expect(all).toMatch(/@mayfly-isolation of \S+misspelt\.test\.js is "fresh"/)
  const clusters = [...all.matchAll(/(\w+) has (jest-iso-[-\d]+)/g)].map(([, own = '', cluster = '']) => [
    own,
    cluster,
  ])
  // What the worker that died had to say died with it.
  expect(clusters.map(([own]) => own).sort()).toEqual(['fresh', 'one', 'two'])
  const { fresh, ...others } = Object.fromEntries(clusters)
  expect(Object.values(others)).not.toContain(fresh)
  for (const [, cluster = ''] of clusters) expect(await containersOf(cluster)).toEqual([])
})

test('Jest: watch mode keeps the cluster, and applies what changed', async () => {
  const name = `jest-watch-${process.pid}`
  const configMap = (version: string) =>
    `apiVersion: v1\nkind: ConfigMap\nmetadata: { name: one }\ndata: { v: "${version}" }\n`
  const reads = (comment: string) => `
    const { cluster, test } = require('mayfly/jest/test')
    test('a', async () => console.log('seen ' + (await cluster.object('configmap/one', 'default').get()).data.v)) // ${comment}`
  await using project = await userProject('Jest 30', {
    'package.json': packageJson({ name, manifests: ['one.yaml'] }),
    'one.yaml': configMap('1'),
    'a.test.js': reads('once'),
  })
  const run = project.run(['--watchAll'])
  try {
    await output(run, /seen 1/, /Ran all test suites/)
    await project.write({ 'one.yaml': configMap('2') })
    const again = output(run, /Apply 1 object .*seen 2.*Ran all test suites/s)
    await project.write({ 'a.test.js': reads('again') })
    await again
  } finally {
    run.kill('SIGTERM')
  }
  const { all } = await run
  expect(all.match(/✓ Start the node/g)).toHaveLength(1)
  await vi.waitUntil(async () => (await containersOf(name)).length === 0, { timeout: 30_000, interval: 200 })
})

test('Jest: the types pass a strict consumer', async () => {
  await using project = await userProject('Jest 30', {
    'tsconfig.json': JSON.stringify({
      compilerOptions: {
        target: 'es2023',
        module: 'nodenext',
        types: ['node'],
        strict: true,
        exactOptionalPropertyTypes: true,
        noEmit: true,
      },
      include: ['*.ts'],
    }),
    'consumer.ts': `
      import { expect, kubeconfig, mayfly, test } from 'mayfly/jest/test'

      test.each([[1, 'one'] as const])('rows', async (number, word, { namespace }) => {
        const texts: [1, 'one', string, string] = [number, word, kubeconfig, mayfly.name]
        await expect(namespace.deployment('web')).not.toHaveCondition('Available', { timeoutMs: texts.length })
        await expect(namespace.object<{ spec: object }>('page/hello')).toMatchResource({ spec: {} })
      }, 5000)
      test.each(['a'])('values', (value: string, { kube }) => kube.core.readNamespace({ name: value }))
      test.concurrent.only.failing('forms', ({ eventually }) => eventually(() => expect(1).toBe(1)))
      test.todo('later')
      // @ts-expect-error: a number is no object of the cluster
      void expect(1).toBecomeAvailable()`,
  })
  const { all, exitCode } = await execa('tsc', [], {
    cwd: project.dir,
    preferLocal: true,
    reject: false,
    all: true,
  })
  expect(all).toBe('')
  expect(exitCode).toBe(0)
})
