import { join } from 'node:path'
import { cached, hashFolder } from '../../src/node-image/cache.ts'
import { run } from '../../src/node-image/toolchain.ts'

const modules = join(import.meta.dirname, 'newest-docker')

/** Programs of the engine by their packages; the versions are those of newest-docker/go.mod. */
const packages = [
  'github.com/containerd/containerd/v2/cmd/containerd',
  'github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2',
  'github.com/moby/moby/v2/cmd/docker-proxy',
  'github.com/moby/moby/v2/cmd/dockerd',
  'github.com/opencontainers/runc',
]

/** Parts that want C libraries of their own, and that no test needs. */
const tags = 'seccomp no_btrfs no_zfs no_devmapper exclude_graphdriver_btrfs no_systemd no_libnftables'

/**
 * Builds the Docker engine of today, which keeps images in containerd's store, from its Go modules.
 *
 * @returns The folder with its programs; minutes the first time, then it is kept
 */
export async function newestDocker(): Promise<string> {
  const [version, compiler, ...inputs] = await Promise.all([
    run('go', ['list', '-m', '-f', '{{.Version}}', 'github.com/moby/moby/v2'], { cwd: modules }),
    run('go', ['env', 'GOVERSION'], { cwd: modules }),
    hashFolder(modules),
  ])
  const ldflags = `-X github.com/moby/moby/v2/dockerversion.Version=${version}`
  const built = await cached('newest-docker', [version, compiler, tags, packages, inputs], (dir) =>
    run('go', ['build', '-trimpath', '-tags', tags, '-ldflags', ldflags, '-o', `${dir}/`, ...packages], {
      cwd: modules,
      env: { CGO_ENABLED: '1' },
    }).then(() => undefined),
  )
  return built.dir
}
