import { type ContainerMount, type Engine, findContainerdRoot } from '../engine/index.ts'
import type { Labels } from '../reaper/index.ts'

/** Where a node sees the engine's layer directories, its image database, and Podman's records of layers. */
export const layersMount = '/mayfly/engine-layers'
export const databaseMount = '/mayfly/engine-images'
export const layerRecordsMount = '/mayfly/engine-layer-records'

type Store = Pick<Engine, 'kind' | 'storageDriver' | 'storageStatus' | 'rootless' | 'securityOptions'>

/** Stores that are plain directories of the overlay file system: Docker's own, Podman's, and containerd's in Docker. */
export type StoreKind = 'overlay2' | 'overlay' | 'containerd'

/** What an engine keeps images in; `undefined` when its layers are not directories for overlay. Pure. */
export function storeKind({ kind, storageDriver, storageStatus }: Store): StoreKind | undefined {
  if (kind === 'podman') return storageDriver === 'overlay' ? 'overlay' : undefined
  if (storageDriver === 'overlay2') return 'overlay2'
  const snapshotter = storageStatus['driver-type'] === 'io.containerd.snapshotter.v1'
  return snapshotter && storageDriver === 'overlayfs' ? 'containerd' : undefined
}

/**
 * What a node container needs so that images of the engine can run in it without being copied.
 *
 * @param image The node's own image
 * @returns None when nodes can't use the engine's store; {@link whyNotShared} tells of most reasons
 * @throws MayflyError `ENGINE_LOST`, `WAIT_ABORTED`
 */
export async function engineStoreMounts(
  engine: Engine,
  image: string,
  options: { labels: Labels; signal?: AbortSignal | undefined },
): Promise<ContainerMount[]> {
  if (whyNotShared(engine)) return []
  const { rootDir } = engine
  switch (storeKind(engine)) {
    case 'overlay2':
      return dockerMounts({ layers: `${rootDir}/overlay2`, database: `${rootDir}/image/overlay2` })
    case 'overlay':
      return podmanMounts(rootDir)
    case 'containerd': {
      const root = await findContainerdRoot(engine, image, options)
      return root === undefined ? [] : dockerMounts(containerdFolders(root))
    }
    case undefined:
      return []
  }
}

/** The parts of a containerd's data folder with the layers and with the images' documents. */
function containerdFolders(root: string): { layers: string; database: string } {
  return {
    layers: `${root}/io.containerd.snapshotter.v1.overlayfs`,
    database: `${root}/io.containerd.content.v1.content`,
  }
}

/**
 * Volumes, and no bind mounts: Docker's archive API (`docker cp`) mounts a container's binds once more below the
 * container's root file system, with all that is mounted below them. That root lies in the very directory that would be
 * bound, so each copy showed up in the next, up to the kernel's limit of 100 000 mounts (Docker 20.10). The volume
 * driver mounts the directory alone, `private` lets no other mount into it, and `ro` keeps everybody from writing there,
 * also whoever removes the volume.
 */
function dockerMounts({ layers, database }: { layers: string; database: string }): ContainerMount[] {
  const mount = (device: string, target: string): ContainerMount => ({
    type: 'volume',
    target,
    driverOptions: { type: 'none', o: 'bind,ro,private', device },
  })
  return [mount(layers, layersMount), mount(database, databaseMount)]
}

/** Podman drops the options of a volume without a name (seen in 4.3.1), and mounts no bind once more to copy. */
function podmanMounts(rootDir: string): ContainerMount[] {
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

/** Why no node can use an engine's store; `undefined` when nothing speaks against it. Pure. */
export function whyNotShared(engine: Store): string | undefined {
  const { kind, storageDriver, storageStatus, rootless, securityOptions } = engine
  if (storeKind(engine) === undefined) {
    const others = kind === 'podman' ? '"overlay"' : '"overlay2" or containerd\'s "overlayfs"'
    return `the engine stores images with "${storageDriver}", not in plain directories of ${others}`
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
