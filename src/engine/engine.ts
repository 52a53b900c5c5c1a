import type Docker from 'dockerode'
import type { EnginePlace } from './places.ts'

/** A container engine that answered, and what it told about itself. */
export interface Engine {
  kind: 'docker' | 'podman'
  /** The engine's release, e.g. `28.2.2`. */
  version: string
  /** Its Docker API version, e.g. `1.41`. */
  apiVersion: string
  /** The engine's own identity; stays the same over restarts. */
  id: string
  /** Host name and kernel release of the machine that runs the containers. */
  hostName: string
  kernel: string
  /** Go's name of the architecture: `amd64`, `arm64`. */
  arch: string
  cgroupVersion: 1 | 2
  cgroupDriver: string
  /** `overlay2`, `overlayfs` for Docker's containerd image store, or Podman's `overlay`. */
  storageDriver: string
  /** What the storage driver says of itself, e.g. `Native Overlay Diff`: `true`. */
  storageStatus: Readonly<Record<string, string>>
  /** Where the engine's images are containerd's: its namespace that has them, `moby` unless it was configured. */
  containerdNamespace: string
  /** The engine's data folder on its host, e.g. `/var/lib/docker`. */
  rootDir: string
  rootless: boolean
  /** e.g. `name=seccomp,profile=default`, `name=apparmor`, `name=rootless`. */
  securityOptions: string[]
  /** The containers run on this very machine and kernel, so /proc/sys and the engine's folders can be looked at. */
  local: boolean
  /** The name or address of the engine's machine where it is reached over a network; its published ports are there. */
  remoteHost?: string
  /** Memory of the engine's host, bytes. */
  memoryBytes: number
  cpus: number
  /** Where it was found. */
  place: EnginePlace
  /** The client itself, for this room's own functions. */
  docker: Docker
  /** One line for messages and logs: kind, version, place. */
  describe(): string
}
