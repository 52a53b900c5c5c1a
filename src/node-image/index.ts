/** Builds node images: Kubernetes from source, and all that a node needs around it. */
import { mkdir, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { connectEngine, type Engine, loadImage } from '../engine/index.ts'
import { createProgress, type Progress } from '../progress/index.ts'
import { archiveFolder, describeLayer, type ImageLayer, imageArchive, layerFile } from './archive.ts'
import { type Built, cached, cacheRoot, contentKey, hashFolder } from './cache.ts'
import {
  type CompileContext,
  compile,
  compileKubernetes,
  type KubernetesSource,
  resolveKubernetes,
} from './compile.ts'
import { fillNodeLayer, kubeadmImages } from './layers.ts'
import { type Architecture, goComponents, ownImages, sourceDateEpoch } from './recipe.ts'
import { makeRootfs } from './rootfs.ts'
import { checkToolchain, hostArchitecture } from './toolchain.ts'

export { type Architecture, kubernetesVersions } from './recipe.ts'

/** What to build. */
export interface NodeImageOptions {
  /** Name of the image, default `mayfly/node:VERSION`. */
  image?: string | undefined
  /** Kubernetes version, default v1.37.2. */
  kubernetes?: string | undefined
  /** A Kubernetes source checkout to build instead of published modules. */
  source?: string | undefined
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

/** The folder with the recipe, in a checkout and in the published package alike. */
export function recipeFolder(): string {
  return join(dirname(fileURLToPath(import.meta.url)), '../../node-image')
}

/**
 * Builds a node image and loads it into the container engine. Finished steps are kept and skipped the next time.
 *
 * @throws MayflyError `NODE_IMAGE_BUILD_FAILED` with what is missing or what the failing tool printed
 */
export async function buildNodeImage(options: NodeImageOptions = {}): Promise<NodeImage> {
  const { arch = hostArchitecture(), progress = createProgress() } = options
  const kubernetes = await resolveKubernetes(options.kubernetes, options.source)
  await mkdir(cacheRoot(), { recursive: true })
  const { goVersion } = await checkToolchain(arch, cacheRoot())
  const engine = await connectEngine()
  const epoch = Number(process.env['SOURCE_DATE_EPOCH'] ?? sourceDateEpoch)
  const context: CompileContext = { sources: recipeFolder(), arch, goVersion, epoch }
  const layers = await buildLayers(kubernetes, context, progress)
  const reference = options.image ?? `mayfly/node:${kubernetes.version}`
  await progress.step(`Load ${reference}`, () => load(engine, reference, context, kubernetes, layers))
  return { reference, kubernetes: kubernetes.version, arch }
}

async function buildLayers(
  kubernetes: KubernetesSource,
  context: CompileContext,
  progress: Progress,
): Promise<ImageLayer[]> {
  const step = async (name: string, work: () => Promise<Built>) => {
    let built: Built | undefined
    await progress.step(name, async () => {
      built = await work()
    })
    return built as unknown as Built
  }
  const rootfs = await step(`Debian root file system`, () => makeRootfs(context.arch, context.epoch))
  const programs: Record<string, string> = {}
  const keys = [rootfs.key]
  for (const component of goComponents) {
    const built = await step(`Compile ${component.module}`, () => compile(component, context))
    keys.push(built.key)
    for (const name of Object.keys(component.programs)) programs[name] = join(built.dir, 'bin', name)
  }
  const compiled = await step(`Compile Kubernetes ${kubernetes.version}`, () =>
    compileKubernetes(kubernetes, context),
  )
  keys.push(compiled.key)
  const host = await onThisHost(kubernetes, context, compiled, programs['mayfly-node'] ?? '')
  const images = await kubeadmImages(host.kubeadm, kubernetes.version)
  const files = await Promise.all(
    ['rootfs', 'manifests'].map((dir) => hashFolder(join(context.sources, dir))),
  )
  const layerSources = await hashFolder(dirname(fileURLToPath(import.meta.url)), (name) =>
    /^(layers|recipe)\./.test(name),
  )
  const nodeLayer = await step('Assemble the node', () =>
    cached(
      `node-${context.arch}`,
      [keys, images, ownImages, files, layerSources, context.epoch],
      async (draft) => {
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
      },
    ),
  )
  return [await describeLayer(join(rootfs.dir, 'rootfs.tar')), await describeLayer(layerFile(nodeLayer.dir))]
}

/** Programs that the build itself runs have to be for this host, whatever it builds for. */
async function onThisHost(
  kubernetes: KubernetesSource,
  context: CompileContext,
  compiled: Built,
  mayflyNode: string,
): Promise<{ kubeadm: string; mayflyNode: string }> {
  const arch = hostArchitecture()
  if (context.arch === arch) return { kubeadm: join(compiled.dir, 'bin/kubeadm'), mayflyNode }
  const own = { ...context, arch }
  const component = goComponents.find(({ module }) => module === 'mayfly-node')
  if (!component) throw new Error('the recipe has no mayfly-node')
  const [host, hostKubernetes] = [await compile(component, own), await compileKubernetes(kubernetes, own)]
  return { kubeadm: join(hostKubernetes.dir, 'bin/kubeadm'), mayflyNode: join(host.dir, 'bin/mayfly-node') }
}

async function load(
  engine: Engine,
  reference: string,
  { arch, epoch }: CompileContext,
  kubernetes: KubernetesSource,
  layers: readonly ImageLayer[],
): Promise<void> {
  const config = {
    Entrypoint: ['/usr/local/bin/mayfly-node', 'entrypoint', '/sbin/init'],
    Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'container=docker'],
    Labels: {
      'io.mayfly.node-image': '1',
      'io.mayfly.kubernetes': kubernetes.version,
      'io.mayfly.content': contentKey(layers.map(({ digest }) => digest)),
    },
    StopSignal: 'SIGRTMIN+3',
  }
  await loadImage(engine, imageArchive({ reference, arch, epoch, config, layers }))
}
