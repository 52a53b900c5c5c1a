/**
 * Looks for data races in Kubernetes' components as the node image has them: `npm run test:races`. They are compiled with Go's
 * race detector (a quarter of an hour the first time), run the suites that roll-backs are tested with on two nodes, and
 * what the detector reported is read in the nodes' logs. Needs `libc6-dev`, for the detector does not do without libc.
 */
import { randomUUID } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'
import { DEFAULT_NODE_IMAGE } from '../../src/config/index.ts'
import { buildImageFrom, connectEngine, removeImage } from '../../src/engine/index.ts'
import { type Cluster, createCluster } from '../../src/index.ts'
import { kubernetesModule } from '../../src/node-image/compile.ts'
import { recipeDir } from '../../src/node-image/mayfly-node.ts'
import { kubernetesVersions } from '../../src/node-image/recipe.ts'
import { faults, ordinarySuite } from '../snapshot/suite.ts'
import { type Race, racesIn } from './reports.ts'

/** Races of Kubernetes' own, in code that the node image leaves as it is. */
const upstream = [
  // kube-proxy's informer of Nodes runs before the last handlers are registered (cmd/kube-proxy/app/server.go, Run).
  /^k8s\.io\/kubernetes\/pkg\/proxy\/config\.\(\*NodeConfig\)\.(handleChangeNode|RegisterEventHandler)\(\)$/,
]

const image = `mayfly-test/races:${randomUUID().slice(0, 8)}`
const engine = await connectEngine()
console.log("Compile Kubernetes' components with the race detector")
const program = await compileWithDetector()
await buildImageFrom(
  engine,
  [
    { path: '/Dockerfile', content: dockerfile(process.env['MAYFLY_NODE_IMAGE'] || DEFAULT_NODE_IMAGE) },
    { path: '/kubernetes', content: program, mode: 0o755 },
  ],
  image,
)
try {
  const races = await racesOfSuites()
  const unknown = races.filter(({ functions }) => !functions.every(isUpstream))
  for (const { text } of unknown) console.error(`\n${text}`)
  console.log(`Races: ${races.length}, of which upstream's own: ${races.length - unknown.length}`)
  process.exitCode = unknown.length === 0 ? 0 : 1
} finally {
  await removeImage(engine, image)
}

function isUpstream(name: string): boolean {
  return upstream.some((known) => known.test(name))
}

/** Static, for the images of static pods have no libc. */
async function compileWithDetector(): Promise<Buffer> {
  const scratch = await mkdtemp(join(tmpdir(), 'mayfly-races-'))
  try {
    const source = { kind: 'modules', version: kubernetesVersions[0] } as const
    const { dir, flags } = await kubernetesModule(source, { sources: recipeDir }, join(scratch, 'source'))
    const output = join(scratch, 'kubernetes')
    const link = `-linkmode=external -extldflags=-static -X k8s.io/component-base/version.gitVersion=${source.version}`
    await execa('go', ['build', '-race', '-trimpath', `-ldflags=${link}`, '-o', output, ...flags, '.'], {
      cwd: dir,
      env: { CGO_ENABLED: '1' },
    })
    return await readFile(output)
  } finally {
    await rm(scratch, { recursive: true })
  }
}

/** The program is there twice, for the node and for its pods, as one file. */
function dockerfile(from: string): string {
  const program = '/usr/local/bin/kubernetes'
  const inPods = `/usr/share/mayfly/layers/kubernetes${program}`
  return `FROM ${from}\nCOPY kubernetes ${inPods}\nRUN ["ln", "-f", "${inPods}", "${program}"]\n`
}

async function racesOfSuites(): Promise<Race[]> {
  await using cluster = await createCluster({ nodes: ['control-plane', 'worker'], image })
  const pristine = await cluster.snapshot()
  const suites = Object.entries({
    'does what suites do': ({ kube }: Cluster) => ordinarySuite(kube),
    ...faults,
  })
  for (const [name, suite] of suites) {
    console.log(`A suite that ${name}`)
    await suite(cluster)
    await cluster.rollback(pristine, { timeoutMs: 180_000 })
  }
  return racesIn((await Promise.all(cluster.nodes.map(logsOf))).join('\n'))
}

async function logsOf(node: Cluster['nodes'][number]): Promise<string> {
  const script = 'find /var/log/pods -name "*.log" -exec cat {} +; journalctl --no-pager -o cat -u kubelet'
  return (await node.exec(['sh', '-c', script])).stdout
}
