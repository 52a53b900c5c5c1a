/** Builds node images: Kubernetes from source, and all that a node needs around it. */
import { mkdir, readFile, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  bakeForImage,
  nodeImageContentLabel,
  nodeImageLabel,
  nodeImageVersion,
  shippedSnapshotDir,
  snapshotLabel,
} from '../boot/index.ts'
import { resolveClusterSpec } from '../config/index.ts'
import {
  connectEngine,
  type Engine,
  imageExists,
  inspectImage,
  loadImage,
  removeImage,
} from '../engine/index.ts'
import { createProgress, type Progress } from '../progress/index.ts'
import { ownership, startWatchdog } from '../reaper/index.ts'
import {
  archiveFolder,
  describeLayer,
  type ImageDescription,
  type ImageLayer,
  imageArchive,
  layerFile,
} from './archive.ts'
import { listMaterials, type Material } from './bill-of-materials.ts'
import {
  type Announce,
  type Built,
  cached,
  cacheRoot,
  contentKey,
  hashFolder,
  pruneCache,
  writeJson,
} from './cache.ts'
import {
  type CompileContext,
  compile,
  compileKubernetes,
  type KubernetesSource,
  resolveKubernetes,
} from './compile.ts'
import { compileCrun } from './crun.ts'
import { fillNodeLayer, kubeadmImages } from './layers.ts'
import { recipeDir } from './mayfly-node.ts'
import { type Architecture, goComponents, ownImages, sourceDateEpoch } from './recipe.ts'
import { installedPackages, makeRootfs, packageDrift, pinnedPackagesFile } from './rootfs.ts'
import { checkToolchain, hostArchitecture } from './toolchain.ts'

export { type Material, materialsTable } from './bill-of-materials.ts'
export { contentKey } from './cache.ts'
export { findMayflyNode, type MayflyNode, recipeDir } from './mayfly-node.ts'
export { type Architecture, isArchitecture, kubernetesVersions } from './recipe.ts'

/** What to build. */
export interface NodeImageOptions {
  /** Name of the image, default `mayfly/node:VERSION`, and `mayfly/node:VERSION-unchanged` for an unchanged one. */
  image?: string | undefined
  /** Kubernetes version, default v1.37.2. */
  kubernetes?: string | undefined
  /** A Kubernetes source checkout to build instead of published modules. */
  source?: string | undefined
  /** Kubernetes' source as it is, without mayfly's changes that shorten waits; clusters boot slower. Default false. */
  unchanged?: boolean | undefined
  /** Default: this machine's. An image for another architecture has no base snapshot. */
  arch?: Architecture | undefined
  progress?: Progress | undefined
}

/** A node image that was built. */
export interface NodeImage {
  reference: string
  kubernetes: string
  arch: Architecture
}

/**
 * Builds a node image and loads it into the container engine. Finished steps are kept and skipped the next time;
 * the image gets its name when it is whole.
 *
 * @throws MayflyError `NODE_IMAGE_BUILD_FAILED` with what is missing or what the failing tool printed
 */
export async function buildNodeImage(options: NodeImageOptions = {}): Promise<NodeImage> {
  const { progress = createProgress() } = options
  const { kubernetes, context } = await prepare(options)
  const engine = await connectEngine()
  const layers = await buildLayers(kubernetes, context, progress)
  const variant = kubernetes.unchanged ? '-unchanged' : ''
  const reference = options.image ?? `mayfly/node:${kubernetes.version}${variant}`
  const bare = describeImage(reference, kubernetes, context, layers)
  // Baking runs a node, which only this machine's own architecture can.
  const bakeable = context.arch === hostArchitecture()
  const description = bakeable ? await withBaseSnapshot(engine, bare, kubernetes, context, progress) : bare
  if (await isLoaded(engine, description)) progress.skip(`Load ${reference}`, 'up to date')
  else await progress.step(`Load ${reference}`, () => loadImage(engine, imageArchive(description)))
  await pruneCache()
  return { reference, kubernetes: kubernetes.version, arch: context.arch }
}

/** Adds the layer with the base snapshot of the default configuration, which is made by booting the image once. */
async function withBaseSnapshot(
  engine: Engine,
  bare: ImageDescription,
  kubernetes: KubernetesSource,
  context: CompileContext,
  progress: Progress,
): Promise<ImageDescription> {
  const key = bare.config.Labels[nodeImageContentLabel] ?? ''
  const sources = await hashFolder(join(dirname(fileURLToPath(import.meta.url)), '../boot'))
  const bake = async (draft: string) => {
    const image = `mayfly/node-build:${key}`
    const root = join(draft, 'root')
    const lease = await startWatchdog(engine)
    try {
      await loadImage(engine, imageArchive({ ...bare, reference: image }))
      const spec = await resolveClusterSpec({ name: `build-${key}`, image, proxy: false }, { env: {} })
      const manifest = await bakeForImage(spec, join(root, shippedSnapshotDir), {
        engine,
        labels: ownership(spec.name),
        progress: createProgress({ mode: 'silent' }),
        timeoutMs: bakeTimeoutMs,
      })
      await archiveFolder(root, layerFile(draft), context.epoch)
      await writeJson(join(draft, 'snapshot.json'), manifest)
      await rm(root, { recursive: true })
    } finally {
      await removeImage(engine, image).catch(() => undefined)
      await lease.release()
    }
  }
  const baked = await announced(progress, 'Bake the base snapshot', (announce) =>
    cached(`base-${context.arch}`, [key, sources], bake, announce),
  )
  const manifest: unknown = JSON.parse(await readFile(join(baked.dir, 'snapshot.json'), 'utf8'))
  const layers = [...bare.layers, await describeLayer(layerFile(baked.dir))]
  const labels = { [snapshotLabel]: JSON.stringify(manifest) }
  return describeImage(bare.reference, kubernetes, context, layers, labels)
}

/** Time for the one boot through kubeadm, in milliseconds. */
const bakeTimeoutMs = 300_000

/**
 * Lists everything in a node image, with version and licence. Nothing is compiled; modules and Debian packages are
 * fetched where they are not there yet.
 *
 * @throws MayflyError `NODE_IMAGE_BUILD_FAILED` as {@link buildNodeImage} does
 */
export async function billOfMaterials(options: NodeImageOptions = {}): Promise<Material[]> {
  const { progress = createProgress() } = options
  const { kubernetes, context } = await prepare(options)
  const rootfs = await announced(progress, rootfsStep, (announce) =>
    makeRootfs(context.arch, context.epoch, announce),
  )
  return progress.step('List what is linked', () => listMaterials(kubernetes, context, rootfs.dir))
}

async function prepare(options: NodeImageOptions) {
  const { arch = hostArchitecture() } = options
  const found = await resolveKubernetes(options.kubernetes, options.source)
  const kubernetes = options.unchanged ? { ...found, unchanged: true } : found
  await mkdir(cacheRoot(), { recursive: true })
  const { goVersion } = await checkToolchain(arch, cacheRoot())
  const epoch = Number(process.env['SOURCE_DATE_EPOCH'] ?? sourceDateEpoch)
  const context: CompileContext = { sources: recipeDir, arch, goVersion, epoch }
  return { kubernetes, context }
}

const rootfsStep = 'Debian root file system'

async function announced(
  progress: Progress,
  name: string,
  work: (announce: Announce) => Promise<Built>,
): Promise<Built> {
  const built = await work((produce) => progress.step(name, produce))
  if (!built.fresh) progress.skip(name, 'up to date')
  return built
}

async function buildLayers(
  kubernetes: KubernetesSource,
  context: CompileContext,
  progress: Progress,
): Promise<ImageLayer[]> {
  const step = (name: string, work: (announce: Announce) => Promise<Built>) => announced(progress, name, work)
  const rootfs = await step(rootfsStep, (announce) => makeRootfs(context.arch, context.epoch, announce))
  const drift = await packageDrift(
    pinnedPackagesFile(context.sources, context.arch),
    await installedPackages(rootfs.dir),
  )
  if (drift.length > 0)
    progress.note(`Debian's mirror has other versions than the recipe was made with: ${drift.join(', ')}`)
  const programs: Record<string, string> = {}
  const keys = [rootfs.key]
  for (const component of goComponents) {
    const built = await step(`Compile ${component.module}`, (announce) =>
      compile(component, context, announce),
    )
    keys.push(built.key)
    for (const name of Object.keys(component.programs)) programs[name] = join(built.dir, 'bin', name)
  }
  const crun = await step('Compile crun', (announce) => compileCrun(context, rootfs.dir, announce))
  keys.push(crun.key)
  programs['crun'] = join(crun.dir, 'bin/crun')
  const compiled = await step(`Compile Kubernetes ${kubernetes.version}`, (announce) =>
    compileKubernetes(kubernetes, context, announce),
  )
  keys.push(compiled.key)
  const host = await onThisHost(kubernetes, context, compiled, programs['mayfly-node'] ?? '', step)
  const images = await kubeadmImages(host.kubeadm, kubernetes.version)
  const files = await Promise.all(
    ['rootfs', 'manifests'].map((dir) => hashFolder(join(context.sources, dir))),
  )
  const layerSources = await hashFolder(dirname(fileURLToPath(import.meta.url)), (name) =>
    /^(layers|recipe)\./.test(name),
  )
  const inputs = [keys, images, ownImages, files, layerSources, context.epoch]
  const assemble = async (draft: string) => {
    const root = join(draft, 'root')
    await fillNodeLayer(
      root,
      {
        ...context,
        kubernetes,
        rootfsTree: join(rootfs.dir, 'tree'),
        kubernetesBin: join(compiled.dir, 'bin'),
        programs,
        hostMayflyNode: host.mayflyNode,
      },
      images,
    )
    await archiveFolder(root, layerFile(draft), context.epoch)
    await rm(root, { recursive: true })
  }
  const nodeLayer = await step('Assemble the node', (announce) =>
    cached(`node-${context.arch}`, inputs, assemble, announce),
  )
  return [await describeLayer(join(rootfs.dir, 'rootfs.tar')), await describeLayer(layerFile(nodeLayer.dir))]
}

/** Programs that the build itself runs have to be for this host, whatever it builds for. */
async function onThisHost(
  kubernetes: KubernetesSource,
  context: CompileContext,
  compiled: Built,
  mayflyNode: string,
  step: (name: string, work: (announce: Announce) => Promise<Built>) => Promise<Built>,
): Promise<{ kubeadm: string; mayflyNode: string }> {
  const arch = hostArchitecture()
  if (context.arch === arch) return { kubeadm: join(compiled.dir, 'bin/kubeadm'), mayflyNode }
  const own = { ...context, arch }
  const component = goComponents.find(({ module }) => module === 'mayfly-node')
  if (!component) throw new Error('the recipe has no mayfly-node')
  const host = await step('Compile mayfly-node for this host', (announce) =>
    compile(component, own, announce),
  )
  const hostKubernetes = await step(`Compile Kubernetes ${kubernetes.version} for this host`, (announce) =>
    compileKubernetes(kubernetes, own, announce),
  )
  return { kubeadm: join(hostKubernetes.dir, 'bin/kubeadm'), mayflyNode: join(host.dir, 'bin/mayfly-node') }
}

function describeImage(
  reference: string,
  kubernetes: KubernetesSource,
  { arch, epoch }: CompileContext,
  layers: readonly ImageLayer[],
  labels: Record<string, string> = {},
): ImageDescription {
  const config = {
    Entrypoint: ['/usr/local/bin/mayfly-node', 'entrypoint', '/sbin/init'],
    Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'container=docker'],
    Labels: {
      [nodeImageLabel]: nodeImageVersion,
      'io.mayfly.kubernetes': kubernetes.version,
      ...labels,
    },
    StopSignal: 'SIGRTMIN+3',
  }
  const content = contentKey([config, arch, epoch, layers.map(({ digest }) => digest)])
  return {
    reference,
    arch,
    epoch,
    config: { ...config, Labels: { ...config.Labels, [nodeImageContentLabel]: content } },
    layers,
  }
}

/** Whether the engine has exactly this image under its name. */
async function isLoaded(engine: Engine, { reference, config }: ImageDescription): Promise<boolean> {
  if (!(await imageExists(engine, reference))) return false
  const { Config } = await inspectImage(engine, reference)
  return Config.Labels?.[nodeImageContentLabel] === config.Labels[nodeImageContentLabel]
}
