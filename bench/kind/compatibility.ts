/**
 * Shows that unmodified kind runs on a node image of ours, and how long it takes:
 *
 *     node bench/kind/compatibility.ts [image]
 *
 * Creates a cluster with one node and one with three, waits until every pod in kube-system is Ready, loads an
 * image twice, exports logs, stops and starts the nodes, deletes. Prints a JSON document of seconds.
 *
 * On a host without CAP_SYS_RESOURCE `docker run --privileged`, and so kind, needs the wrapper in
 * ../runtime-wrapper, which the engine has to know:
 *
 *     cd bench/runtime-wrapper && go build -o /usr/local/bin/runtime-wrapper .
 *     echo '{ "runtimes": { "mayfly-bench": { "path": "/usr/local/bin/runtime-wrapper" } } }' > /etc/docker/daemon.json
 *     kill -HUP "$(pidof dockerd)"
 */
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'
import { connectEngine } from '../../src/engine/index.ts'
import { buildNodeImage, kubernetesVersions } from '../../src/node-image/index.ts'
import { createProgress } from '../../src/progress/index.ts'
import { until } from '../../src/wait.ts'

const image = process.argv[2] ?? `mayfly/node:${kubernetesVersions[0]}`
const here = import.meta.dirname
const dir = await mkdtemp(join(tmpdir(), 'mayfly-kind-'))
const progress = createProgress()
const seconds: Record<string, number> = {}

const engine = await connectEngine()
const { Runtimes } = (await engine.docker.info()) as { Runtimes: Record<string, unknown> }
const wrapped = 'mayfly-bench' in Runtimes
const env = {
  KUBECONFIG: join(dir, 'kubeconfig'),
  ...(wrapped && { PATH: `${join(here, 'bin')}:${process.env['PATH']}` }),
}
const kind = join(dir, 'kind')

async function timed(name: string, args: string[]): Promise<void> {
  const begun = performance.now()
  await progress.step(name, () => execa(kind, args, { env, all: true }))
  seconds[name] = Math.round((performance.now() - begun) / 100) / 10
}

async function allReady(node: string): Promise<void> {
  const jsonpath =
    '{range .items[*]}{.metadata.name} {.status.conditions[?(@.type=="Ready")].status}{"\\n"}{end}'
  await until(
    'every pod in kube-system to be Ready',
    async (_, report) => {
      const kubectl = [
        'exec',
        node,
        'kubectl',
        '-n',
        'kube-system',
        'get',
        'pods',
        '-o',
        `jsonpath=${jsonpath}`,
      ]
      const { stdout } = await execa('docker', kubectl)
      const waiting = stdout.split('\n').filter((line) => !line.endsWith(' True'))
      report(waiting.join(', '))
      return waiting.length === 0 || undefined
    },
    { timeoutMs: 120_000, intervalMs: 250 },
  )
}

async function tryOut(nodes: number): Promise<void> {
  const name = `mayfly-compat-${nodes}`
  const [controlPlane, label] = [`${name}-control-plane`, nodes === 1 ? '1 node' : `${nodes} nodes`]
  const config = join(dir, `${name}.yaml`)
  const workers = '- role: worker\n'.repeat(nodes - 1)
  // A host on cgroup v1 needs the patch; on any other it changes nothing.
  const patch = 'kubeadmConfigPatches:\n- |\n  kind: KubeletConfiguration\n  failCgroupV1: false\n'
  const head = 'kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n'
  await writeFile(config, `${head}${patch}nodes:\n- role: control-plane\n${workers}`)
  try {
    const create = [
      'create',
      'cluster',
      '--name',
      name,
      '--image',
      image,
      '--wait',
      '120s',
      '--config',
      config,
    ]
    await timed(`create, ${label}`, create)
    await progress.step('Every pod Ready', () => allReady(controlPlane))
    await timed(`load an image, ${label}`, ['load', 'docker-image', '--name', name, image])
    await timed(`load it again, ${label}`, ['load', 'docker-image', '--name', name, image])
    const logs = join(dir, `logs-${nodes}`)
    await timed(`export logs, ${label}`, ['export', 'logs', '--name', name, logs])
    const listed = await readFile(join(logs, controlPlane, 'images.log'), 'utf8')
    if (!listed.includes('kube-apiserver') || !existsSync(join(logs, controlPlane, 'kubelet.log')))
      throw new Error(`the exported logs lack something: ${await readdir(join(logs, controlPlane))}`)
    const all = (await execa(kind, ['get', 'nodes', '--name', name], { env })).stdout.split('\n')
    await progress.step('Stop and start every node', async () => {
      await execa('docker', ['stop', ...all])
      await execa('docker', ['start', ...all.reverse()]) // so that addresses change hands
      await until(
        'the API server',
        async () => {
          const { exitCode } = await execa(
            'docker',
            ['exec', controlPlane, 'kubectl', 'get', '--raw=/readyz'],
            { reject: false },
          )
          return exitCode === 0 || undefined
        },
        { timeoutMs: 60_000 },
      )
      await allReady(controlPlane)
    })
  } finally {
    await timed(`delete, ${label}`, ['delete', 'cluster', '--name', name])
  }
}

try {
  await progress.step('Build kind', () =>
    execa('go', ['build', '-trimpath', '-o', kind, 'sigs.k8s.io/kind'], {
      cwd: here,
      env: { CGO_ENABLED: '0' },
    }),
  )
  if (process.argv[2] === undefined) await buildNodeImage({ progress })
  await tryOut(1)
  await tryOut(3)
  console.log(JSON.stringify({ kind: 'v0.33.0', image, wrapped, seconds }, undefined, 2))
} finally {
  await rm(dir, { recursive: true })
}
