/** A kind of host: the guest with one engine, set up in one way. */
export interface Host {
  /** Command that loads an image archive from its standard input. */
  load: string
  /** Files below /etc. */
  etc?: Record<string, string>
  kernelOptions?: string[]
  env?: Record<string, string>
}

const withoutDocker = ['docker.service', 'docker.socket', 'containerd.service'].map(
  (unit) => `systemd.mask=${unit}`,
)
const withoutPodman = ['podman.socket', 'podman.service'].map((unit) => `systemd.mask=${unit}`)

/** The hosts that are tried, in this order. */
export const hosts: Record<string, Host> = {
  docker: { load: 'docker load -q', kernelOptions: withoutPodman },
  'docker-containerd-store': {
    load: 'docker load -q',
    etc: { 'docker/daemon.json': '{ "features": { "containerd-snapshotter": true } }\n' },
    kernelOptions: withoutPodman,
  },
  podman: {
    load: 'podman load -q',
    kernelOptions: withoutDocker,
    env: { DOCKER_HOST: 'unix:///run/podman/podman.sock' },
  },
}
