import type { ContainerMount, Engine } from '../engine/index.ts'

/** Where a node sees the engine's layer directories, its image database, and Podman's records of layers. */
export const layersMount = '/mayfly/engine-layers'
export const databaseMount = '/mayfly/engine-images'
export const layerRecordsMount = '/mayfly/engine-layer-records'

type Store = Pick<
  Engine,
  'kind' | 'storageDriver' | 'storageStatus' | 'rootless' | 'rootDir' | 'securityOptions'
>

/**
 * What a node container needs so that images of the engine can run in it without being copied.
 *
 * @returns No mounts when the engine's store is not plain directories of an overlay driver; `why` tells
 */
export function engineStoreMounts(engine: Store): { mounts: ContainerMount[]; why?: string } {
  const why = whyNotShared(engine)
  if (why) return { mounts: [], why }
  return { mounts: engine.kind === 'podman' ? podmanMounts(engine) : dockerMounts(engine) }
}

/**
 * Volumes, and no bind mounts: Docker's archive API (`docker cp`) mounts a container's binds once more below the
 * container's root file system, with all that is mounted below them. That root lies in the very directory that would be
 * bound, so each copy showed up in the next, up to the kernel's limit of 100 000 mounts (Docker 20.10). The volume
 * driver mounts the directory alone, `private` lets no other mount into it, and `ro` keeps everybody from writing there,
 * also whoever removes the volume.
 */
function dockerMounts({ rootDir }: Store): ContainerMount[] {
  const mount = (device: string, target: string): ContainerMount => ({
    type: 'volume',
    target,
    driverOptions: { type: 'none', o: 'bind,ro,private', device },
  })
  return [mount(`${rootDir}/overlay2`, layersMount), mount(`${rootDir}/image/overlay2`, databaseMount)]
}

/** Podman drops the options of a volume without a name (seen in 4.3.1), and mounts no bind once more to copy. */
function podmanMounts({ rootDir }: Store): ContainerMount[] {
  const mount = (source: string, target: string): ContainerMount => ({
    ...{ type: 'bind', source, target },
    ...{ readOnly: true, recursive: false, propagation: 'private' },
  })
  return [
    mount(`${rootDir}/overlay`, layersMount),
    mount(`${rootDir}/overlay-images`, databaseMount),
    mount(`${rootDir}/overlay-layers`, layerRecordsMount),
  ]
}

const overlayDrivers = { docker: 'overlay2', podman: 'overlay' } as const

function whyNotShared({
  kind,
  storageDriver,
  storageStatus,
  rootless,
  securityOptions,
}: Store): string | undefined {
  const overlay = overlayDrivers[kind]
  if (storageDriver !== overlay) {
    return `the engine stores images with "${storageDriver}", not in plain directories of "${overlay}"`
  }
  // A mount program, such as fuse-overlayfs, marks deleted files in its own way.
  if (kind === 'podman' && storageStatus['Native Overlay Diff'] !== 'true') {
    return "the engine's layers are not as the kernel's overlay has them"
  }
  // A node in a user namespace can't read the attributes by which overlay marks deleted directories.
  if (rootless) return 'the engine is rootless'
  const has = (option: string) => securityOptions.some((one) => one.startsWith(`name=${option}`))
  if (has('userns')) return 'the engine remaps user ids'
  // The engine would give every file of the store the label of a container's.
  if (has('selinux')) return 'the engine labels volumes for SELinux'
  return undefined
}
