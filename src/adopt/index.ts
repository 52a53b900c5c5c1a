/** Makes node images of mayfly's own out of those of other projects, such as `kindest/node`. */
import { randomBytes } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { nodeImageLabel, nodeImageVersion } from '../boot/index.ts'
import type { ClusterSpec } from '../config/index.ts'
import {
  buildImageFrom,
  type ContainerFile,
  createContainer,
  type Engine,
  engineStatus,
  imageExists,
  inspectImage,
  listImageNames,
  readFile as readNodeFile,
  removeContainer,
  removeImage,
} from '../engine/index.ts'
import { MayflyError } from '../errors.ts'
import type { Progress } from '../progress/index.ts'
import type { Labels } from '../reaper/index.ts'
import { adoptedContainerdConfig } from './containerd-config.ts'

/** Repository of the images that are made here. */
export const adoptedRepository = 'mayfly/adopted'

/** The oldest kubeadm that understands the configuration which mayfly writes (v1beta4). */
const oldestMinor = 31

/** What {@link adoptNodeImages} needs besides the specification. */
export interface AdoptOptions {
  progress: Progress
  /** For the container that an image is looked into with. */
  labels: Labels
  signal?: AbortSignal | undefined
}

/**
 * The specification with an image of mayfly's own in place of each that is another project's. Such an image is made the
 * first time, in the engine: the original with `mayfly-node` in front of its init system, and its core images
 * unpacked. It then boots as any other does: baked once through its own kubeadm, restored from then on.
 *
 * @throws MayflyError `NODE_IMAGE_UNFIT` when an image is no node image, or of too old a Kubernetes;
 *   `IMAGE_BUILD_FAILED` when the engine can't build on it
 */
export async function adoptNodeImages(
  engine: Engine,
  spec: ClusterSpec,
  options: AdoptOptions,
): Promise<ClusterSpec> {
  const images = [...new Set(spec.nodes.map(({ image }) => image))]
  const adopted = new Map<string, string>()
  for (const image of images) adopted.set(image, await adoptNodeImage(engine, image, options))
  if (images.every((image) => adopted.get(image) === image)) return spec
  const nodes = spec.nodes.map((node) => ({ ...node, image: adopted.get(node.image) ?? node.image }))
  return { ...spec, nodes }
}

/** Removes every image that was made here, but for those in use. They are made again when they are wanted. */
export async function removeAdoptedImages(engine: Engine): Promise<void> {
  const names = await listImageNames(engine)
  for (const name of names.filter((one) => one.startsWith(`${adoptedRepository}:`))) {
    await removeImage(engine, name).catch((thrown: unknown) => {
      if (engineStatus(thrown) !== 409) throw thrown
    })
  }
}

async function adoptNodeImage(engine: Engine, image: string, options: AdoptOptions): Promise<string> {
  const { signal } = options
  const found = await inspectImage(engine, image, { signal }).catch((thrown: unknown) => {
    if (engineStatus(thrown) !== 404) throw thrown
  })
  // The boot says of one that is missing what it says of all.
  if (!found || found.Config?.Labels?.[nodeImageLabel]) return image
  // Loaded only here: of all that boot, few need it.
  const { contentKey, findMayflyNode, isArchitecture, recipeDir } = await import('../node-image/index.ts')
  const { Architecture: arch } = found
  if (!isArchitecture(arch)) throw unfit(image, `is for ${arch}`)
  const program = await findMayflyNode(arch)
  const files = await addedFiles(recipeDir)
  const key = contentKey([found.Id, program.key, nodeImageVersion, files])
  const reference = `${adoptedRepository}:${tagPart(image)}-${key}`
  if (await imageExists(engine, reference, { signal })) return reference
  await options.progress.step(`Adopt ${image} (once)`, async () => {
    const { kubernetes, containerdConfig } = await lookInto(engine, image, options)
    const added: ContainerFile[] = [
      ...files,
      { path: '/files/usr/local/bin/mayfly-node', content: await program.read(), mode: 0o755 },
      { path: '/files/etc/containerd/config.toml', content: adoptedContainerdConfig(containerdConfig) },
    ]
    const args = {
      IMAGE: found.Id,
      KUBERNETES: kubernetes,
      NODE_IMAGE_VERSION: nodeImageVersion,
      CONTENT: key,
    }
    await buildImageFrom(engine, added, reference, { args, signal })
  })
  return reference
}

/** A reference as part of a tag, for people who list images. */
function tagPart(image: string): string {
  return image
    .replace(/@.*/, '')
    .replaceAll(/[^\w.-]/g, '-')
    .replace(/^[.-]+/, '')
    .slice(0, 100)
}

const unitDir = '/etc/systemd/system'

/** Files that come with mayfly, below `/files` of the build's context, and the Dockerfile. */
async function addedFiles(recipeDir: string): Promise<ContainerFile[]> {
  const rootfs = join(recipeDir, 'rootfs')
  const units = (await readdir(join(rootfs, unitDir))).filter((name) => name.startsWith('mayfly-'))
  const wanted = [
    ...units.map((unit) => `${unitDir}/${unit}`),
    '/etc/systemd/journald.conf.d/mayfly.conf',
    '/etc/systemd/system.conf.d/mayfly.conf',
  ]
  const kubelet = `${unitDir}/kubelet.service.d/20-mayfly.conf`
  const file = async (path: string, from: string) => ({ path, content: await readFile(from, 'utf8') })
  return [
    ...(await Promise.all([
      file('/Dockerfile', join(recipeDir, 'adopted/Dockerfile')),
      file(`/files${kubelet}`, join(recipeDir, 'adopted', kubelet)),
      ...wanted.map((path) => file(`/files${path}`, join(rootfs, path))),
    ])),
    ...units.map((unit) => ({
      path: `/files${unitDir}/multi-user.target.wants/${unit}`,
      linkTo: `../${unit}`,
    })),
  ]
}

/** Reads what decides whether an image is a node image, in a container of it that never starts. */
async function lookInto(
  engine: Engine,
  image: string,
  { labels, signal }: AdoptOptions,
): Promise<{ kubernetes: string; containerdConfig: string }> {
  const name = `mayfly-look-${randomBytes(4).toString('hex')}`
  const entrypoint = ['/bin/true']
  await createContainer(engine, { name, image, labels, entrypoint, command: [], network: 'none' }, { signal })
  try {
    const read = async (path: string) => {
      const content = await readNodeFile(engine, name, path, { signal })
      if (content === undefined) throw unfit(image, `is no node image: it has no ${path}`)
      return String(content).trim()
    }
    const kubernetes = await read('/kind/version')
    const [, major, minor] = /^v(\d+)\.(\d+)\./.exec(kubernetes) ?? []
    if (major !== '1' || minor === undefined) {
      throw unfit(image, `has no version of Kubernetes in its /kind/version, but "${kubernetes}"`)
    }
    if (Number(minor) < oldestMinor) {
      throw unfit(
        image,
        `has Kubernetes ${kubernetes}, and v1.${oldestMinor} is the oldest that mayfly boots`,
      )
    }
    return { kubernetes, containerdConfig: await read('/etc/containerd/config.toml') }
  } finally {
    await removeContainer(engine, name)
  }
}

function unfit(image: string, why: string): MayflyError {
  return new MayflyError('NODE_IMAGE_UNFIT', `Image "${image}" ${why}`, {
    hint: 'Name a kindest/node image, or build a node image with `npx mayfly build node-image`',
  })
}
