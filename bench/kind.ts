import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'
import { type Engine, imageExists, listNetworks, removeNetwork } from '../src/engine/index.ts'
import type { RunningCluster, Shape, Tool } from './tool.ts'

/** kind's version in kind/go.mod. */
export const kindName = 'kind v0.33.0'

/** What kind puts every node in, and leaves behind (pkg/cluster/internal/providers/docker/network.go). */
const network = 'kind'

/** What kind puts before several control planes (pkg/cluster/internal/loadbalancer/const.go). */
const loadBalancerImage = 'docker.io/envoyproxy/envoy:v1.36.2'

/** Whether kind can make a cluster with several control planes here, without a registry. */
export function kindHasLoadBalancer(engine: Engine): Promise<boolean> {
  return imageExists(engine, loadBalancerImage)
}

/**
 * Builds real kind from its module. On a host without CAP_SYS_RESOURCE, where `--privileged` fails, its containers need
 * the runtime `mayfly-bench` (see runtime-wrapper/main.go), which the engine has to know.
 */
export async function prepareKind(engine: Engine, image: string): Promise<Tool & AsyncDisposable> {
  const dir = await mkdtemp(join(tmpdir(), 'mayfly-bench-'))
  const binary = join(dir, 'kind')
  const cwd = join(import.meta.dirname, 'kind')
  await execa('go', ['build', '-trimpath', '-o', binary, 'sigs.k8s.io/kind'], {
    cwd,
    env: { CGO_ENABLED: '0' },
  })
  const hadNetwork = (await listNetworks(engine, {})).some(({ name }) => name === network)
  const { Runtimes } = (await engine.docker.info()) as { Runtimes: Record<string, unknown> }
  const env = {
    KUBECONFIG: join(dir, 'kubeconfig'),
    ...('mayfly-bench' in Runtimes && { PATH: `${join(cwd, 'bin')}:${process.env['PATH']}` }),
  }
  const run = async (...args: string[]) => (await execa(binary, args, { env })).stdout
  return {
    name: kindName,
    create: (shape) => create(run, { ...shape, dir, image }),
    async [Symbol.asyncDispose]() {
      if (!hadNetwork) await removeNetwork(engine, network)
      await rm(dir, { recursive: true })
    },
  }
}

async function create(
  run: (...args: string[]) => Promise<string>,
  { dir, image, ...shape }: Shape & { dir: string; image: string },
): Promise<RunningCluster> {
  const name = `mayfly-bench-${shape.name ?? 'peer'}`
  const config = join(dir, `${name}.yaml`)
  await writeFile(config, configuration(shape))
  const remove = async () => void (await run('delete', 'cluster', '--name', name))
  try {
    await run('create', 'cluster', '--name', name, '--image', shape.kindest ?? image, '--config', config)
    const [kubeconfig, nodes] = await Promise.all([
      run('get', 'kubeconfig', '--name', name),
      run('get', 'nodes', '--name', name),
    ])
    return {
      nodes: nodes.split('\n').filter(Boolean),
      kubeconfig,
      load: async (source) => void (await run('load', 'docker-image', source, '--name', name)),
      delete: remove,
      [Symbol.asyncDispose]: remove,
    }
  } catch (thrown) {
    await remove()
    throw thrown
  }
}

/**
 * A host on cgroup v1 needs the patch of the kubelet; on any other it changes nothing. Where the host lacks
 * CAP_SYS_RESOURCE, containerd must not lower scores for the kernel's memory killer: our image's is told so, kind's is not.
 */
function configuration({ controlPlanes = 1, workers = 0, kindest }: Shape): string {
  return `kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
kubeadmConfigPatches:
- |
  kind: KubeletConfiguration
  failCgroupV1: false
${kindest === undefined ? '' : scoresPatch}nodes:
${'- role: control-plane\n'.repeat(controlPlanes)}${'- role: worker\n'.repeat(workers)}`
}

const scoresPatch = `containerdConfigPatches:
- |
  [plugins."io.containerd.grpc.v1.cri"]
    restrict_oom_score_adj = true
`
