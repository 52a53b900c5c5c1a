import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { busyboxLayer } from '../images/made-images.ts'
import {
  containersOf,
  output,
  type ProjectFiles,
  type Runner,
  type UserProject,
  userProject,
} from './project.ts'

const projects: UserProject[] = []
afterEach(async () => {
  for (const project of projects.splice(0)) await project[Symbol.asyncDispose]()
})

async function projectOf(runner: Runner, files: ProjectFiles): Promise<UserProject> {
  const project = await userProject(runner, files)
  projects.push(project)
  return project
}

let clusters = 0
const clusterName = () => `vt-${process.pid}-${++clusters}`

/** What every suite below deploys: a web server of the image that each node has. */
const web = `
export const web = (command = ['busybox', 'httpd', '-f', '-p', '80', '-h', '/etc']) => [
  { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'web' }, spec: {
    replicas: 1, selector: { matchLabels: { app: 'web' } },
    template: { metadata: { labels: { app: 'web' } }, spec: { terminationGracePeriodSeconds: 0, containers: [{
      name: 'web', image: 'docker.io/mayfly/local-path-helper:v1', imagePullPolicy: 'IfNotPresent', command,
      readinessProbe: { httpGet: { path: '/hostname', port: 80 }, periodSeconds: 1 } }] } } } },
  { apiVersion: 'v1', kind: 'Service', metadata: { name: 'web' }, spec: { selector: { app: 'web' }, ports: [{ port: 80 }] } },
]`

describe.each(['Vitest 5', 'Vitest 4.1'] as const)('%s', (runner) => {
  test('tests get a cluster, projects that ask for the same share it, failures explain themselves', async () => {
    const name = clusterName()
    const project = await projectOf(runner, {
      'web.ts': web,
      'vitest.config.ts': `
        import { mayfly } from 'mayfly/vitest'
        import { defineConfig } from 'vitest/config'
        const cluster = () => mayfly({ name: '${name}', manifests: ['shared'], keepFailedNamespaces: true })
        export default defineConfig({ test: { projects: [
          { plugins: [cluster()], test: { name: 'one', include: ['one.test.ts'] } },
          { plugins: [cluster()], test: { name: 'two', include: ['two.test.ts'] } },
        ] } })`,
      'shared/kustomization.yaml': 'resources: [configmap.yaml]\nnamePrefix: all-\n',
      'shared/configmap.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata: { name: shared }\n',
      'one.test.ts': `
        import { expect, test } from 'mayfly/vitest/test'
        import { rootCertificates } from 'node:tls'
        import { inject } from 'vitest'
        import { web } from './web.ts'

        test('the context is there, and so are the manifests', async ({ cluster, kube }) => {
          expect(inject('kubeconfig')).toBe(cluster.kubeconfig)
          expect(inject('mayfly').name).toBe('${name}')
          expect((await kube.core.listNode()).items).toHaveLength(1)
          expect((await cluster.nodes[0].exec(['hostname'])).stdout.trim()).toBe('${name}-control-plane')
          await expect(cluster.object('configmap/all-shared', 'default')).toExist()
        })

        test('a namespace of its own', async ({ namespace, eventually, consistently }) => {
          await namespace.apply(web())
          await expect(namespace.deployment('web')).toBecomeAvailable()
          await expect(namespace.deployment('web')).toHaveCondition('Available')
          await expect(namespace.deployment('web')).toMatchResource({ status: { readyReplicas: 1 } })
          expect(await namespace.curl('http://web/hostname')).toMatchObject({ status: 200, body: expect.stringMatching(/^web-/) })
          expect(await namespace.curl('http://web/nothing', { method: 'GET' })).toMatchObject({ status: 404 })
          expect(await namespace.exec('deployment/web', ['sh', '-c', 'cat; exit 3'], { stdin: 'hi' })).toMatchObject({ stdout: 'hi', exitCode: 3 })
          await using forward = await namespace.portForward('service/web', 80)
          expect((await fetch('http://127.0.0.1:' + forward.localPort + '/hostname')).status).toBe(200)
          await consistently(async () => expect(await namespace.list('deployments')).toHaveLength(1), { durationMs: 300 })
          await namespace.delete('service/web')
          await expect(namespace.service('web')).not.toExist()
          await eventually(async () => expect(await namespace.events()).not.toHaveLength(0))
        })

        test('curl speaks TLS, and trusts whom it is told to', async ({ cluster, namespace }) => {
          const ca = (await namespace.waitFor('configmap/kube-root-ca.crt', 'exists')).data['ca.crt']
          const { spec } = await cluster.object('service/kubernetes', 'default').get()
          for (const host of ['kubernetes.default', spec.clusterIP]) {
            expect(await namespace.curl('https://' + host + '/version', { ca })).toMatchObject({ status: 200 })
          }
          const url = 'https://kubernetes.default/version'
          expect(await namespace.curl(url)).toMatchObject({ status: 200 })
          await expect(namespace.curl(url, { ca: rootCertificates[0], retry: false })).rejects.toThrow(/certificate/)
        })

        test('fails because its program crashes', async ({ namespace }) => {
          await namespace.apply(web(['sh', '-c', 'echo the flux is missing; exit 7']))
          await expect(namespace.deployment('web')).toBecomeAvailable()
        }, 12_000)

        test('fails with a difference', async ({ namespace }) => {
          await namespace.apply({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'colours' }, data: { sky: 'blue' } })
          await expect(namespace.configMap('colours')).toMatchResource({ data: { sky: 'green' } }, { timeoutMs: 300 })
        })

        test('times out after its pod is gone', async ({ namespace, signal }) => {
          const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'short' }, spec: { restartPolicy: 'Never', containers: [{
            name: 'short', image: 'docker.io/mayfly/local-path-helper:v1', command: ['sh', '-c', 'echo last words; sleep 1'] }] } }
          await namespace.apply(pod)
          await namespace.waitFor('pod/short', { jsonPath: '{.status.phase}', value: 'Succeeded' })
          await namespace.delete('pod/short', { gracePeriodSeconds: 0 })
          await new Promise(() => {})
        }, 8_000)

        test('the namespaces of failed tests are kept, and no others', async ({ kube }) => {
          const { items } = await kube.core.listNamespace({ labelSelector: 'io.mayfly/part=test' })
          const kept = items.filter(({ status }) => status.phase === 'Active')
          expect(kept.map(({ metadata }) => metadata.annotations['io.mayfly/test']).sort()).toEqual([
            'fails because its program crashes', 'fails with a difference', 'times out after its pod is gone'])
        })`,
      'two.test.ts': `
        import { expect, test } from 'mayfly/vitest/test'
        test('the same cluster', ({ cluster }) => expect(cluster.name).toBe('${name}'))`,
    })

    // Without a kubectl on this host, that of the nodes builds the kustomization.
    const { all, exitCode } = await project.run(['run'], { PATH: '/nonexistent' })

    expect(all).toMatch(/Tests +3 failed \| 5 passed \(8\)/)
    expect(exitCode).toBe(1)
    // Once for both projects, and gone.
    expect(all.match(/✓ Start the node/g)).toHaveLength(1)
    expect(all.match(/✓ Apply 1 object /g)).toHaveLength(1)
    expect(all).toContain(`✓ Delete cluster ${name}`)
    expect(await containersOf(name)).toEqual([])
    expect(all).toMatch(/Namespace fails-with-a-difference-\w+ was kept, as asked/)
    // The reason, from the matcher, before the test's own time-out.
    expect(all).toMatch(/Waited \d+(\.\d+)? s for Deployment \S+\/web to be available/)
    expect(all).toContain('  | the flux is missing')
    expect(all).toContain(".data.sky\n  - 'green'\n  + 'blue'")
    // A pod that is long gone had something to say.
    expect(all).toContain('  | last words')
    expect(all).toContain('All of it is in .mayfly/times-out-after-its-pod-is-gone')
    const dir = join(project.dir, '.mayfly/fails-because-its-program-crashes')
    expect(await readdir(dir)).toEqual(['events.txt', 'logs', 'objects.yaml', 'summary.txt'])
    expect(await readFile(join(dir, 'summary.txt'), 'utf8')).toContain('exit code 7')
    expect(await readFile(join(dir, 'objects.yaml'), 'utf8')).toContain('kind: ReplicaSet')
  })

  test('a cluster that cannot be made fails the run once, with the reason, and runs no test', async () => {
    const project = await projectOf(runner, {
      'vitest.config.ts': `
        import { mayfly } from 'mayfly/vitest'
        import { defineConfig } from 'vitest/config'
        export default defineConfig({ plugins: [mayfly({ image: 'no/such-node:1' })] })`,
      'a.test.ts': `import { test } from 'vitest'\ntest('a', () => console.log('it ran'))`,
      'b.test.ts': `import { test } from 'vitest'\ntest('b', () => console.log('it ran'))`,
    })

    const { all, exitCode } = await project.run(['run'])

    expect(exitCode).toBe(1)
    expect(all.match(/has no image "no\/such-node:1"/g)).toHaveLength(1)
    expect(all).toContain(
      "→ Pull it with `docker pull no/such-node:1`, or build one of mayfly's own with `npx mayfly build node-image`",
    )
    expect(all).not.toContain('it ran')
    expect(all).not.toContain('No test files found')
    expect(all).not.toMatch(/^ +(at|❯) .*mayfly/m)
  })
})

test('an image that is not there is told before anything is made', async () => {
  const project = await projectOf('Vitest 5', {
    'vitest.config.ts': `
      import { mayfly } from 'mayfly/vitest'
      import { defineConfig } from 'vitest/config'
      export default defineConfig({ plugins: [mayfly({ images: ['no/such-app:1'] })] })`,
    'a.test.ts': `import { test } from 'vitest'\ntest('a', () => {})`,
  })
  const { all, exitCode } = await project.run(['run'])
  expect(exitCode).toBe(1)
  expect(all).toContain('has no image "no/such-app:1"')
  expect(all).not.toContain('Check the host')
})

test('the plain globalSetup takes its options from provide', async () => {
  const project = await projectOf('Vitest 5', {
    'vitest.config.ts': `
      import { defineConfig } from 'vitest/config'
      export default defineConfig({ test: {
        globalSetup: ['mayfly/vitest/global-setup'],
        provide: { mayflyOptions: { image: 'no/such-node:2' } },
      } })`,
    'a.test.ts': `import { test } from 'vitest'\ntest('a', () => {})`,
  })
  const { all, exitCode } = await project.run(['run'])
  expect(exitCode).toBe(1)
  expect(all).toContain('has no image "no/such-node:2"')
})

test('watch mode keeps the cluster, and brings only what changed to it', async () => {
  const name = clusterName()
  const image = `mayfly-test/${name}:dev`
  const project = await projectOf('Vitest 5', {
    'vitest.config.ts': `
      import { mayfly } from 'mayfly/vitest'
      import { defineConfig } from 'vitest/config'
      export default defineConfig({ plugins: [mayfly({
        name: '${name}', images: [{ build: 'app', tag: '${image}' }], manifests: ['config', 'one.yaml'],
      })] })`,
    'app/Dockerfile': 'FROM scratch\nADD root.tar /\nCOPY page /www/page\n',
    'app/root.tar': await busyboxLayer(),
    'app/page': 'first',
    'config/kustomization.yaml': 'resources: [web.yaml]\n',
    'config/web.yaml': deploymentOf(image),
    'one.yaml': configMap('1'),
    'a.test.ts': `
      import { test } from 'mayfly/vitest/test'
      test('a', async ({ cluster, namespace }) => {
        const { data } = await cluster.object('configmap/one', 'default').get()
        const { body } = await namespace.curl('http://web.default/page')
        console.log('seen ' + data.v + ' and ' + body)
      })`,
  })
  const run = project.run(['watch'])
  const idle = /Wa(it|tch)ing for file changes/
  const rerun = async (files: ProjectFiles, wanted: RegExp) => {
    const printed = output(run, wanted, idle)
    await project.write(files)
    return printed
  }
  try {
    await output(run, /seen 1 and first/, idle)

    // A manifest: it alone is applied, and tests run again by themselves.
    await rerun({ 'one.yaml': configMap('2') }, /Apply 1 object .*seen 2 and first/s)
    // An image: pods that run it are replaced.
    await project.write({ 'app/page': 'second' })
    const restarted = await rerun({ 'config/web.yaml': deploymentOf(image) }, /seen 2 and second/)
    expect(restarted).toContain('Restart Deployment web')
    expect(restarted).not.toContain('Apply')
    // A mistake: tests fail with it, and it can be mended.
    await rerun({ 'one.yaml': 'kind: {' }, /could not be brought up to date: one\.yaml:1 is not valid YAML/)
    await rerun({ 'one.yaml': configMap('3') }, /Apply 1 object .*seen 3 and second/s)
  } finally {
    run.kill('SIGTERM')
  }
  const { all } = await run
  expect(all.match(/✓ Start the node/g)).toHaveLength(1)
  await vi.waitUntil(async () => (await containersOf(name)).length === 0, { timeout: 30_000, interval: 200 })
  await execa('docker', ['rmi', '--force', image])
})

function configMap(version: string): string {
  return `apiVersion: v1\nkind: ConfigMap\nmetadata: { name: one }\ndata: { v: "${version}" }\n`
}

function deploymentOf(image: string): string {
  const command = ['/bin/busybox', 'httpd', '-f', '-p', '80', '-h', '/www']
  const probe = { httpGet: { path: '/page', port: 80 }, periodSeconds: 1 }
  const container = { name: 'web', image, imagePullPolicy: 'Never', command, readinessProbe: probe }
  const spec = { terminationGracePeriodSeconds: 0, containers: [container] }
  const labels = { app: 'web' }
  return [
    {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'web' },
      spec: {
        selector: { matchLabels: labels },
        template: { metadata: { labels }, spec },
      },
    },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'web' },
      spec: { selector: labels, ports: [{ port: 80 }] },
    },
  ]
    .map((object) => JSON.stringify(object))
    .join('\n---\n')
}

test('a run that is killed leaves nothing', async () => {
  const name = clusterName()
  const project = await projectOf('Vitest 5', {
    'vitest.config.ts': `
      import { mayfly } from 'mayfly/vitest'
      import { defineConfig } from 'vitest/config'
      export default defineConfig({ plugins: [mayfly({ name: '${name}' })] })`,
    'a.test.ts': `import { test } from 'vitest'\ntest('a', async () => { console.log('under way'); await new Promise(() => {}) })`,
  })
  const run = project.run(['run', '--disable-console-intercept'])
  await output(run, /under way/)
  expect(await containersOf(name)).not.toEqual([])
  run.kill('SIGKILL')
  await vi.waitUntil(async () => (await containersOf(name)).length === 0, { timeout: 30_000, interval: 200 })
})
