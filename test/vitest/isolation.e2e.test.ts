import { afterEach, expect, test, vi } from 'vitest'
import { containersOf, output, type Runner, type UserProject, userProject } from './project.ts'

const projects: UserProject[] = []
afterEach(async () => {
  for (const project of projects.splice(0)) await project[Symbol.asyncDispose]()
})

async function projectOf(runner: Runner, files: Record<string, string>): Promise<UserProject> {
  const project = await userProject(runner, files)
  projects.push(project)
  return project
}

let runs = 0
const clusterName = () => `iso-${process.pid}-${++runs}`

/** The configuration of a project with two workers. */
function config(mayfly: object, test: object = {}): string {
  return `
    import { mayfly } from 'mayfly/vitest'
    import { defineConfig } from 'vitest/config'
    export default defineConfig({
      plugins: [mayfly(${JSON.stringify(mayfly)})],
      test: ${JSON.stringify({ maxWorkers: 2, disableConsoleIntercept: true, ...test })},
    })`
}

/**
 * Part of a test file: a first test that finds nothing of other files in the cluster, and leaves what others would find. Two
 * files that had a cluster at once, or one after the other, would find it as well.
 */
function leavesTraces(file: string): string {
  return `
    import { expect, inject, test } from 'mayfly/vitest/test'
    test('finds a clean cluster, and leaves traces', async ({ cluster, namespace }) => {
      console.log('${file} has ' + cluster.name)
      const names = (list) => list.items.map(({ metadata }) => metadata.name)
      expect(names(await cluster.kube.core.listNamespace()).filter((name) => name.startsWith('trace-'))).toEqual([])
      expect(names(await cluster.kube.core.listNode())).toEqual([cluster.name + '-control-plane'])
      await expect(cluster.object('configmap/of-the-manifests', 'default')).toMatchResource({ data: { colour: 'blue' } })
      await cluster.apply([
        { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'trace-${file}' } },
        { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'of-the-manifests', namespace: 'default' }, data: { colour: 'red' } },
        { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'trace', namespace: 'trace-${file}' }, spec: { containers: [{
          name: 'trace', image: 'docker.io/mayfly/local-path-helper:v1', command: ['sleep', '100000'] }] } },
      ])
      expect(namespace.name).toMatch(/^finds-a-clean-cluster/)
    })`
}

const manifest =
  'apiVersion: v1\nkind: ConfigMap\nmetadata: { name: of-the-manifests }\ndata: { colour: blue }\n'

/** Which cluster each file had, as they told. */
function clustersOfFiles(output: string): Map<string, string> {
  return new Map([...output.matchAll(/^(\w+) has (\S+)$/gm)].map(([, file = '', name = '']) => [file, name]))
}

test('rollback: every file finds the state after the manifests, whatever the files before it did', async () => {
  const name = clusterName()
  const project = await projectOf('Vitest 5', {
    'vitest.config.ts': config({ name, isolation: 'rollback', maxClusters: 2, manifests: ['shared.yaml'] }),
    'shared.yaml': manifest,
    'one.test.ts': leavesTraces('one'),
    'two.test.ts': `${leavesTraces('two')}
      const more = test.extend('answer', { scope: 'file' }, async ({ cluster }, { onCleanup }) => {
        onCleanup(async () => console.log('still there: ' + (await cluster.kube.core.listNode()).items.length))
        return 42
      })
      more('a test with more fixtures has the same cluster', ({ answer, cluster }) => console.log('two has ' + cluster.name))`,
    'three.test.ts': `${leavesTraces('three')}
      test('the cluster that nobody shares is not to be injected', async () => {
        expect(() => inject('kubeconfig')).toThrow('this file has one of its own')
        const { inject: plain } = await import('vitest')
        expect(plain('mayfly').nodes).toEqual([])
        expect(plain('kubeconfig')).toContain('server: https://isolation-is-rollback.use-the-cluster-fixture.invalid')
      })`,
    'damages.test.ts': `${leavesTraces('damages')}
      test('removes the node', async ({ cluster }) => {
        const { execFileSync } = await import('node:child_process')
        execFileSync('docker', ['rm', '--force', '--volumes', cluster.nodes[0].name])
      })`,
    'dies.test.ts': `${leavesTraces('dies')}
      test('kills its worker', () => { process.kill(process.pid, 'SIGKILL') })`,
    'six.test.ts': leavesTraces('six'),
    'seven.test.ts': leavesTraces('seven'),
  })

  const { all } = await project.run(['run'])

  // The eleventh is the one that killed its worker.
  expect(all).toMatch(/Test Files +6 passed \(7\)/)
  expect(all).toMatch(/Tests +10 passed \(11\)/)
  expect(all).toContain('Worker exited unexpectedly')
  expect(all).toContain('still there: 1')
  const clusters = clustersOfFiles(all)
  expect(clusters.size).toBe(7)
  // Two workers never need more than two, and the one that was damaged takes a third.
  expect(new Set(clusters.values()).size).toBeLessThanOrEqual(3)
  expect(all).toMatch(/Cluster \S+ could not be rolled back after damages\.test\.ts and is replaced/)
  for (const cluster of new Set(clusters.values())) expect(await containersOf(cluster)).toEqual([])
})

test('a control plane alone: every file has it as it was, and what needs pods fails at once', async () => {
  const name = clusterName()
  const file = (own: string) => `
    import { expect, test } from 'mayfly/vitest/test'
    test('namespaces end', async ({ cluster, namespace }) => {
      expect(cluster.controlPlaneOnly).toBe(true)
      expect(await cluster.object('configmap/trace', 'default').find()).toBeUndefined()
      await cluster.apply([{ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'trace', namespace: 'default' } }])
      await cluster.apply([{ apiVersion: 'v1', kind: 'Namespace', metadata: { name: '${own}' } }])
      await cluster.object('namespace/${own}').delete()
      await cluster.object('namespace/${own}').waitFor('deleted')
      await expect(namespace.curl('http://anything')).rejects.toMatchObject({ code: 'CONTROL_PLANE_ONLY' })
    })`
  const project = await projectOf('Vitest 5', {
    'vitest.config.ts': config({ name, controlPlaneOnly: true, isolation: 'rollback', maxClusters: 1 }),
    'one.test.ts': file('one'),
    'two.test.ts': file('two'),
  })
  const { all, exitCode } = await project.run(['run'])
  expect(exitCode, all).toBe(0)
  await project.write({
    'vitest.config.ts': config({ name, controlPlaneOnly: true, images: ['anything'] }),
  })
  const refused = await project.run(['run'])
  expect(refused.all).toContain('Could not load images: this cluster is a control plane only')
})

test('a file chooses for itself: a cluster of its own beside the shared one', async () => {
  const name = clusterName()
  const own = (file: string) => `/** @mayfly-isolation cluster */${leavesTraces(file)}`
  const project = await projectOf('Vitest 4.1', {
    'vitest.config.ts': config({ name, maxClusters: 3, manifests: ['shared.yaml'] }, { pool: 'threads' }),
    'shared.yaml': manifest,
    'own.test.ts': own('own'),
    'other.test.ts': own('other'),
    'shared.test.ts': `
      import { expect, inject, test } from 'mayfly/vitest/test'
      test('the shared one', ({ cluster }) => {
        console.log('shared has ' + cluster.name)
        expect(inject('kubeconfig')).toBe(cluster.kubeconfig)
      })`,
  })

  const { all, exitCode } = await project.run(['run'])

  expect(all).toMatch(/Tests +3 passed/)
  expect(exitCode).toBe(0)
  const clusters = clustersOfFiles(all)
  expect(clusters.get('shared')).toBe(name)
  expect([clusters.get('own'), clusters.get('other')].sort()).toEqual([`${name}-1`, `${name}-2`])
  expect(all.match(/✓ Create cluster/g)).toHaveLength(2)
  for (const cluster of clusters.values()) expect(await containersOf(cluster)).toEqual([])
})

test('a file that can not have what it asks for fails with the reason, and no other file does', async () => {
  const name = clusterName()
  const project = await projectOf('Vitest 5', {
    'vitest.config.ts': config({ name, networking: { apiServerPort: 26443 } }, { fileParallelism: false }),
    'run.test.ts': `/** @mayfly-isolation run */
      import { expect, test } from 'mayfly/vitest/test'
      test('leaves a ConfigMap', async ({ namespace }) => {
        expect(namespace.name).toBe('default')
        await namespace.apply({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'left' } })
      })
      test('finds it', async ({ namespace }) => { await expect(namespace.configMap('left')).toExist() })`,
    'impossible.test.ts': `// @mayfly-isolation rollback
      import { test } from 'mayfly/vitest/test'
      test('never runs', () => console.log('it ran'))`,
    'misspelt.test.ts': `// @mayfly-isolation rolback
      import { test } from 'mayfly/vitest/test'
      test('never runs', () => console.log('it ran'))`,
  })

  const { all, exitCode } = await project.run(['run'])

  expect(exitCode).toBe(1)
  expect(all).toMatch(/Test Files +2 failed \| 1 passed/)
  expect(all).toContain("There can't be a second cluster because networking.apiServerPort is 26443")
  expect(all).toMatch(/@mayfly-isolation of \S+misspelt\.test\.ts is "rolback"/)
  expect(all).not.toContain('it ran')
  expect(await containersOf(name)).toEqual([])
})

test('a run that is killed leaves neither the cluster that a file has nor the one that is made ahead', async () => {
  const name = clusterName()
  const waits = `
    import { test } from 'mayfly/vitest/test'
    test('waits', async ({ cluster }) => { console.log('under way on ' + cluster.name); await new Promise(() => {}) })`
  const project = await projectOf('Vitest 5', {
    'vitest.config.ts': config({ name, isolation: 'cluster', maxClusters: 2 }, { fileParallelism: false }),
    'one.test.ts': waits,
    'two.test.ts': waits,
  })
  const clusters = [`${name}-1`, `${name}-2`]
  const containers = async () => (await Promise.all(clusters.map(containersOf))).map(({ length }) => length)
  const run = project.run(['run'])
  await output(run, /under way on/)
  await vi.waitUntil(async () => (await containers()).every((count) => count > 0), {
    timeout: 60_000,
    interval: 200,
  })
  run.kill('SIGKILL')
  await vi.waitUntil(async () => (await containers()).every((count) => count === 0), {
    timeout: 30_000,
    interval: 200,
  })
})

test.each([
  ['vmThreads', {}],
  ['threads', { isolate: false, fileParallelism: false }],
])('files in pool %s, with %o, give back what they had', async (pool, options) => {
  const name = clusterName()
  const project = await projectOf('Vitest 5', {
    'vitest.config.ts': config(
      { name, isolation: 'rollback', maxClusters: 1, manifests: ['shared.yaml'] },
      { pool, ...options },
    ),
    'shared.yaml': manifest,
    'one.test.ts': leavesTraces('one'),
    'two.test.ts': leavesTraces('two'),
  })
  const { all } = await project.run(['run'])
  expect(all).toMatch(/Tests +2 passed \(2\)/)
  expect([...clustersOfFiles(all).values()]).toEqual([`${name}-1`, `${name}-1`])
})
