import type { ContainerMount, Engine } from '../engine/index.ts'

/** Where a node sees the engine's layer directories, and its image database. */
export const layersMount = '/mayfly/engine-layers'
export const databaseMount = '/mayfly/engine-images'

/**
 * What a node container needs so that images of the engine can run in it without being copied.
 *
 * Volumes, and no bind mounts: Docker's archive API (`docker cp`) mounts a container's binds once more below the
 * container's root file system, with all that is mounted below them. That root lies in the very directory that would be
 * bound, so each copy showed up in the next, up to the kernel's limit of 100 000 mounts (Docker 20.10). The volume
 * driver mounts the directory alone, `private` lets no other mount into it, and `ro` keeps everybody from writing there,
 * also whoever removes the volume.
 *
 * @returns No mounts when the engine's store is not plain directories of Docker's overlay2 driver; `why` tells
 */
export function engineStoreMounts(
  engine: Pick<Engine, 'kind' | 'storageDriver' | 'rootless' | 'rootDir' | 'securityOptions'>,
): { mounts: ContainerMount[]; why?: string } {
  const why = whyNotShared(engine)
  if (why) return { mounts: [], why }
  const mount = (device: string, target: string): ContainerMount => ({
    type: 'volume',
    target,
    driverOptions: { type: 'none', o: 'bind,ro,private', device },
  })
  return {
    mounts: [
      mount(`${engine.rootDir}/overlay2`, layersMount),
      mount(`${engine.rootDir}/image/overlay2`, databaseMount),
    ],
  }
}

function whyNotShared({
  kind,
  storageDriver,
  rootless,
  securityOptions,
}: Parameters<typeof engineStoreMounts>[0]): string | undefined {
  if (kind !== 'docker') return `${kind} keeps its images in another form than Docker`
  if (storageDriver !== 'overlay2') {
    return `the engine stores images with "${storageDriver}", not in plain directories of "overlay2"`
  }
  // A node in a user namespace can't read the attributes by which overlay marks deleted directories.
  if (rootless) return 'the engine is rootless'
  const has = (option: string) => securityOptions.some((one) => one.startsWith(`name=${option}`))
  if (has('userns')) return 'the engine remaps user ids'
  // Docker would give every file of the store the label of a container's.
  if (has('selinux')) return 'the engine labels volumes for SELinux'
  return undefined
}
