import {
  type ContainerMount,
  type ContainerSpec,
  createContainer,
  type Engine,
  engineStatus,
  inspectContainer,
  inspectImage,
  noPrivilege,
  putFiles,
  readFile,
  startContainer,
} from '../engine/index.ts'
import { messageOf } from '../errors.ts'
import { type Labels, label } from '../reaper/index.ts'
import { storeKind } from './engine-store.ts'
import type { NodeView } from './node-view.ts'
import type { EngineOrigin } from './sources.ts'

/** Where our node images have the program that does nothing. */
const pausePath = '/usr/share/mayfly/layers/pause/pause'
const holdProgram = '/mayfly-pause'

/** The {@link label.role} of a container that only keeps an image from being removed. */
export const holdRole = 'image-hold'

/** What an image is held for. */
export interface HoldOptions {
  /** Labels of the container; with a cluster's labels it goes when the cluster goes. */
  labels: Labels
  /** The node whose image lends the program to run. */
  node: Pick<NodeView, 'containerId' | 'imageId'>
  signal?: AbortSignal | undefined
}

/** An image that the engine does not remove. */
export interface Hold {
  /** Ends when there is the container: then `docker rmi` and `docker image prune` keep off the image. */
  made: Promise<void>
  /**
   * Lets the container run, once nodes link to the image: `docker system prune` first removes what does not run. That
   * takes as long as all the rest of a load, so nobody waits for it; a warning tells when it fails.
   */
  run(): void
}

/** Keeps the engine from removing an image's layers, with a container of the image that does nothing. */
export function holdImage(
  engine: Engine,
  image: Pick<EngineOrigin, 'id' | 'volumes'>,
  options: HoldOptions,
): Hold {
  const { labels, signal } = options
  const name = `${labels[label.cluster] ?? 'mayfly'}-image-${image.id.replace('sha256:', '').slice(0, 12)}`
  const made = makeContainer(engine, holdContainer(name, image, labels), options)
  // Told by whoever links to the image.
  made.catch(() => undefined)
  const start = async () => {
    await made
    await startContainer(engine, name, { signal })
  }
  let wanted = false
  const run = () => {
    if (wanted) return
    wanted = true
    start().catch((thrown: unknown) => {
      // It went with its cluster, or the load was given up.
      if ([404, 409].includes(engineStatus(thrown) ?? 0) || signal?.aborted) return
      process.emitWarning(`\`docker system prune\` would remove ${image.id}: ${messageOf(thrown)}`, {
        type: 'MayflyWarning',
      })
    })
  }
  return { made, run }
}

/** Makes the container unless it is there from an earlier load. */
async function makeContainer(
  engine: Engine,
  spec: ContainerSpec,
  { node, signal }: HoldOptions,
): Promise<void> {
  try {
    await inspectContainer(engine, spec.name, { signal })
    return
  } catch (thrown) {
    if (engineStatus(thrown) !== 404) throw thrown
  }
  // Podman would make a directory in the layer where there is nothing to mount (seen in 4.3.1), and with containerd's
  // store Docker does not tell where the layers are.
  if (storeKind(engine) !== 'overlay2') return makeFilled(engine, spec, { node, signal })
  // The program lies in one of the node image's layers; Docker refuses a mount of what is not there.
  for (const layer of await layerDirectories(engine, node.imageId, signal)) {
    const source = `${layer}${pausePath}`
    const program: ContainerMount = { type: 'bind', source, target: holdProgram, readOnly: true }
    if (await created(engine, { ...spec, mounts: [program] }, signal)) return
  }
  // It can't run, and keeps off `docker rmi` all the same.
  await created(engine, spec, signal)
}

/** Makes the container with a copy of the program. */
async function makeFilled(
  engine: Engine,
  spec: ContainerSpec,
  { node, signal }: Pick<HoldOptions, 'node' | 'signal'>,
): Promise<void> {
  const [program] = await Promise.all([
    readFile(engine, node.containerId, pausePath, { signal }),
    created(engine, spec, signal),
  ])
  if (program)
    await putFiles(engine, spec.name, [{ path: holdProgram, content: program, mode: 0o755 }], { signal })
}

async function created(
  engine: Engine,
  spec: ContainerSpec,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  try {
    await createContainer(engine, spec, { signal })
    return true
  } catch (thrown) {
    // Another load was faster.
    if (engineStatus(thrown) === 409) return true
    if (engineStatus(thrown) === 400) return false
    throw thrown
  }
}

function holdContainer(
  name: string,
  { id, volumes }: Pick<EngineOrigin, 'id' | 'volumes'>,
  labels: Labels,
): ContainerSpec {
  return {
    name,
    image: id,
    labels: { ...labels, [label.role]: holdRole },
    entrypoint: [holdProgram],
    // Whatever the image runs as and checks its health with may be missing in it.
    user: '0:0',
    healthCheck: false,
    privilege: noPrivilege,
    // It never opens a connection, and a network of its own, even none, takes longer to make than all the rest.
    network: 'host',
    // As nodes: after the engine was restarted, it holds again.
    restart: { onFailure: 1 },
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
