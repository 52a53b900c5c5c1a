import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'
import type { Engine } from '../src/engine/index.ts'

/** Real kind, built from its module, on this host. */
export interface Kind extends AsyncDisposable {
  /** Runs one of kind's commands. */
  run(args: readonly string[]): Promise<void>
  /** Creates a cluster and returns its kubeconfig; it need not be usable yet. */
  create(name: string, nodes: number): Promise<string>
}

/**
 * Builds kind. On a host without CAP_SYS_RESOURCE, where `--privileged` fails, its containers need the runtime
 * `mayfly-bench` (see runtime-wrapper/main.go), which the engine has to know.
 */
export async function prepareKind(engine: Engine, image: string): Promise<Kind> {
  const dir = await mkdtemp(join(tmpdir(), 'mayfly-bench-'))
  const binary = join(dir, 'kind')
  const cwd = join(import.meta.dirname, 'kind')
  await execa('go', ['build', '-trimpath', '-o', binary, 'sigs.k8s.io/kind'], {
    cwd,
    env: { CGO_ENABLED: '0' },
  })
  const { Runtimes } = (await engine.docker.info()) as { Runtimes: Record<string, unknown> }
  const wrapped = 'mayfly-bench' in Runtimes
  const env = {
    KUBECONFIG: join(dir, 'kubeconfig'),
    ...(wrapped && { PATH: `${join(cwd, 'bin')}:${process.env['PATH']}` }),
  }
  const run = async (args: readonly string[]) => {
    await execa(binary, args, { env })
  }
  return {
    run,
    async create(name, nodes) {
      const config = join(dir, `${name}.yaml`)
      await writeFile(config, configuration(nodes))
      await run(['create', 'cluster', '--name', name, '--image', image, '--config', config])
      const { stdout } = await execa(binary, ['get', 'kubeconfig', '--name', name], { env })
      return stdout
    },
    [Symbol.asyncDispose]: () => rm(dir, { recursive: true }),
  }
}

/** A host on cgroup v1 needs the patch; on any other it changes nothing. */
function configuration(nodes: number): string {
  return `kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
kubeadmConfigPatches:
- |
  kind: KubeletConfiguration
  failCgroupV1: false
nodes:
- role: control-plane
${'- role: worker\n'.repeat(nodes - 1)}`
}
