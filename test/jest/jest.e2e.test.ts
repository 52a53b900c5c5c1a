import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { containersOf, userProject } from '../vitest/project.ts'

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

      test('times out', async ({ namespace }) => { await new Promise(() => {}) }, 2000)`,
    'two.test.js': `
      const { expect, test } = require('mayfly/jest/test')
      test('a worker of its own, the same cluster', ({ cluster, namespace }) => {
        expect(cluster.name).toBe('${name}')
        expect(namespace.name).toMatch(/^a-worker-of-its-own-the-same-cluster-/)
      })`,
  })

  const { all, exitCode } = await project.run(['--maxWorkers=2'])

  expect(all).toMatch(/Tests: +2 failed, 2 passed, 4 total/)
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
