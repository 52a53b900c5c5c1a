import {
  type ContainerMount,
  type ContainerSpec,
  createContainer,
  type Engine,
  engineStatus,
  inspectImage,
  startContainer,
} from '../engine/index.ts'
import { isMayflyError, type MayflyError } from '../errors.ts'
import { type Labels, label } from '../reaper/index.ts'
import type { EngineOrigin } from './sources.ts'

/** Where a node sees the engine's layer directories, and its image database. */
export const layersMount = '/mayfly/engine-layers'
export const databaseMount = '/mayfly/engine-images'

/** Where our node images have the program that does nothing. */
const pausePath = '/usr/share/mayfly/layers/pause/pause'
const holdProgram = '/mayfly-pause'

/** The {@link label.role} of a container that only keeps an image from being removed. */
export const holdRole = 'image-hold'

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

/** What an image is held for. */
export interface Hold {
  /** Labels of the container; with a cluster's labels it goes when the cluster goes. */
  labels: Labels
  /** Id of a node's own image, which lends the program to run. */
  nodeImageId: string
  signal?: AbortSignal | undefined
}

/**
 * Keeps the engine from removing an image's layers, with a container of the image that does nothing. It has to run:
 * `docker system prune` removes stopped containers, then images without one.
 *
 * @returns Why the container could not be started, if so: then it keeps off `docker rmi` and `docker image prune` only
 * @throws MayflyError `ENGINE_REFUSED`
 */
export async function holdImage(
  engine: Engine,
  image: Pick<EngineOrigin, 'id' | 'volumes'>,
  { labels, nodeImageId, signal }: Hold,
): Promise<string | undefined> {
  const name = `${labels[label.cluster] ?? 'mayfly'}-image-${image.id.replace('sha256:', '').slice(0, 12)}`
  const create = (mounts: ContainerMount[]) =>
    createContainer(engine, holdContainer(name, image, labels, mounts), { signal }).catch(
      (thrown: unknown) => {
        // It is there from an earlier load.
        if (engineStatus(thrown) !== 409) throw thrown
      },
    )
  let failure: MayflyError | undefined
  // The program lies in one of the node image's layers; the engine refuses a mount of what is not there.
  for (const layer of await layerDirectories(engine, nodeImageId, signal)) {
    try {
      await create([{ type: 'bind', source: `${layer}${pausePath}`, target: holdProgram, readOnly: true }])
      await startContainer(engine, name, { signal })
      return undefined
    } catch (thrown) {
      if (!isMayflyError(thrown) || engineStatus(thrown) === undefined) throw thrown
      failure = thrown
      if (engineStatus(thrown) !== 400) break
    }
  }
  await create([])
  return failure?.message ?? 'the node image has no layer directories'
}

function holdContainer(
  name: string,
  { id, volumes }: Pick<EngineOrigin, 'id' | 'volumes'>,
  labels: Labels,
  mounts: ContainerMount[],
): ContainerSpec {
  return {
    name,
    image: id,
    labels: { ...labels, [label.role]: holdRole },
    entrypoint: [holdProgram],
    // Whatever the image runs as and checks its health with may be missing in it.
    user: '0:0',
    healthCheck: false,
    privilege: {
      capAdd: [],
      capDrop: ['ALL'],
      securityOpt: ['no-new-privileges'],
      deviceCgroupRules: [],
      unmasked: false,
    },
    // It never opens a connection, and a network of its own, even none, takes longer to make than all the rest.
    network: 'host',
    // As nodes: after the engine was restarted, it holds again.
    restart: { onFailure: 1 },
    mounts,
    // A volume would be filled with what the image has there.
    tmpfs: Object.fromEntries(volumes.map((path) => [path, ''])),
  }
}

async function layerDirectories(
  engine: Engine,
  image: string,
  signal: AbortSignal | undefined,
): Promise<string[]> {
  const { GraphDriver } = await inspectImage(engine, image, { signal })
  const { UpperDir, LowerDir } = (GraphDriver?.Data ?? {}) as { UpperDir?: string; LowerDir?: string }
  return [...(UpperDir ? [UpperDir] : []), ...(LowerDir?.split(':') ?? [])]
}
