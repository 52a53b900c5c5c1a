import { existsSync } from 'node:fs'
import { appendFile, copyFile, cp, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { MayflyError } from '../errors.ts'
import { type Announce, type Built, cached, hashFolder, treeState } from './cache.ts'
import {
  type ChangedLibraries,
  type ChangedModules,
  changedLibraries,
  changedModules,
  modulesOfTree,
  overlayChanges,
  sourceChanges,
} from './kubernetes-changes.ts'
import {
  type Architecture,
  type GoComponent,
  kubernetesPackages,
  kubernetesPrograms,
  kubernetesVersions,
} from './recipe.ts'
import { crossCompiler, pkgConfigPath, run } from './toolchain.ts'

/** Where the sources are. */
interface Sources {
  /** The `node-image/` folder. */
  sources: string
}

/** What every compilation depends on. */
export interface CompileContext extends Sources {
  arch: Architecture
  goVersion: string
  /** Seconds since 1970 that stand in for the time of the build. */
  epoch: number
}

/** The version of a module as its go.mod pins it, or `undefined` for one that is not required there. */
export async function pinnedVersion(goMod: string, module: string): Promise<string | undefined> {
  const text = await readFile(goMod, 'utf8')
  for (const line of text.split('\n')) {
    const [name, version] = line
      .trim()
      .replace(/^require /, '')
      .split(' ')
    if (name === module) return version
  }
  return undefined
}

/** The module of ours, beside the others, that programs of several modules are compiled with. */
const sharedModule = { name: 'mayfly.io/node-image/rest', folder: 'rest' } as const

function isGoSource(name: string): boolean {
  return /\.(go|mod|sum)$/.test(name) && !name.endsWith('_test.go')
}

async function sharedSources({ sources }: CompileContext): Promise<string[]> {
  return hashFolder(join(sources, sharedModule.folder), isGoSource)
}

/** Compiles the programs of one Go module; the folder has them in `bin/`. */
export async function compile(
  component: GoComponent,
  context: CompileContext,
  announce?: Announce,
): Promise<Built> {
  const dir = join(context.sources, component.module)
  const version = (await pinnedVersion(join(dir, 'go.mod'), component.source)) ?? ''
  const ldflags = ['-s -w -buildid=', component.ldflags?.replaceAll('VERSION', version)]
    .filter(Boolean)
    .join(' ')
  const flags = ['-trimpath', '-buildvcs=false', `-ldflags=${ldflags}`]
  if (component.tags) flags.push(`-tags=${component.tags}`)
  const inputs = [
    component,
    flags,
    context.arch,
    context.goVersion,
    await hashFolder(dir, isGoSource),
    ...((await pinnedVersion(join(dir, 'go.mod'), sharedModule.name)) ? await sharedSources(context) : []),
  ]
  const produce = async (draft: string) => {
    await mkdir(join(draft, 'bin'))
    for (const [program, packagePath] of Object.entries(component.programs)) {
      await goBuild(dir, [...flags, '-o', join(draft, 'bin', program), packagePath], context, component.cgo)
    }
  }
  return cached(`${component.module}-${context.arch}`, inputs, produce, announce)
}

async function goBuild(cwd: string, args: string[], context: CompileContext, cgo = false): Promise<void> {
  await run('go', ['build', ...args], { cwd, env: goEnvironment(context, cgo) })
}

/** What Go is told about the target. */
export function goEnvironment({ arch }: Pick<CompileContext, 'arch'>, cgo = false): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = {
    GOARCH: arch,
    GOOS: 'linux',
    CGO_ENABLED: cgo ? '1' : '0',
    GOFLAGS: '-mod=readonly',
  }
  if (cgo) Object.assign(env, { CC: crossCompiler(arch), PKG_CONFIG_PATH: pkgConfigPath(arch) })
  return env
}

/** Where Kubernetes comes from; `unchanged` leaves its source as it is. */
export type KubernetesSource = { unchanged?: boolean } & (
  | { kind: 'modules'; version: string }
  | { kind: 'checkout'; version: string; dir: string }
)

/**
 * Decides what Kubernetes to build.
 *
 * @param version A published version that has pinned modules, or, with a checkout, the version to call it
 * @param checkout A Kubernetes source tree
 * @throws MayflyError `NODE_IMAGE_BUILD_FAILED` for a version that is not pinned or a folder that is no checkout
 */
export async function resolveKubernetes(
  version: string | undefined,
  checkout?: string,
): Promise<KubernetesSource> {
  if (checkout !== undefined) return resolveCheckout(resolve(checkout), version)
  const wanted = (version ?? kubernetesVersions[0]).replace(/^(?=\d)/, 'v')
  if (!(kubernetesVersions as readonly string[]).includes(wanted)) {
    throw new MayflyError(
      'NODE_IMAGE_BUILD_FAILED',
      `Kubernetes ${wanted} is not among the versions with pinned modules`,
      {
        hint: `Choose ${kubernetesVersions.join(', ')}, or build another version from its source with --source DIR`,
      },
    )
  }
  return { kind: 'modules', version: wanted }
}

async function resolveCheckout(dir: string, version: string | undefined): Promise<KubernetesSource> {
  const goMod = await readFile(join(dir, 'go.mod'), 'utf8').catch(() => '')
  if (
    !/^module k8s\.io\/kubernetes$/m.test(goMod) ||
    !existsSync(join(dir, 'staging/src/k8s.io/api/go.mod'))
  ) {
    throw new MayflyError('NODE_IMAGE_BUILD_FAILED', `${dir} is no Kubernetes source checkout`, {
      hint: 'Name the folder with the go.mod of module k8s.io/kubernetes and staging/src/k8s.io below it',
    })
  }
  const described = version ?? (await checkoutVersion(dir))
  if (!described || !/^v\d+\.\d+\.\d+/.test(described)) {
    throw new MayflyError(
      'NODE_IMAGE_BUILD_FAILED',
      `Nothing in ${dir} tells which Kubernetes version it is`,
      {
        hint: 'Give the version as well, such as --kubernetes v1.37.2',
      },
    )
  }
  return { kind: 'checkout', version: described, dir }
}

async function checkoutVersion(dir: string): Promise<string | undefined> {
  if (existsSync(join(dir, 'version'))) return (await readFile(join(dir, 'version'), 'utf8')).trim()
  if (!existsSync(join(dir, '.git'))) return undefined
  return run('git', ['-C', dir, 'describe', '--tags', '--match', 'v*', '--abbrev=14']).catch(() => undefined)
}

/** The folder with Kubernetes' own sources: the checkout, or the main module in Go's module cache. */
async function kubernetesFolder(source: KubernetesSource, context: Sources): Promise<string> {
  if (source.kind === 'checkout') return source.dir
  return downloaded('k8s.io/kubernetes', source.version, context)
}

/** The folder of a module in Go's module cache. */
async function downloaded(module: string, version: string, context: Sources): Promise<string> {
  const cwd = join(context.sources, 'kubernetes')
  const listed = await run('go', ['mod', 'download', '-json', `${module}@${version}`], { cwd })
  return (JSON.parse(listed) as { Dir: string }).Dir
}

/** Compiles Kubernetes' components into one program and its tools into another, and pause; the folder has them in `bin/`. */
export async function compileKubernetes(
  source: KubernetesSource,
  context: CompileContext,
  announce?: Announce,
): Promise<Built> {
  const dir = join(context.sources, 'kubernetes')
  const ldflags = `-s -w -buildid= ${versionFlags(source.version, context.epoch)}`
  const flags = ['-trimpath', '-buildvcs=false', `-ldflags=${ldflags}`]
  const pinned = source.kind === 'modules' ? modulesOf(source.version) : 'go.mod'
  const sums = pinned.replace(/mod$/, 'sum')
  const isOurs = (name: string) => name.endsWith('.go') && !name.endsWith('_test.go')
  const ours = await hashFolder(dir, (name) => isOurs(name) || name === pinned || name === sums)
  const shared = await sharedSources(context)
  const inputs = [source, flags, context.arch, context.goVersion, ours, shared, sourceChanges]
  const checkoutState = source.kind === 'checkout' ? await treeState(source.dir) : 0
  const produce = async (draft: string) => {
    const bin = join(draft, 'bin')
    await mkdir(bin)
    const scratch = join(draft, 'source')
    const module = await kubernetesModule(source, context, scratch)
    // Go calls a program after the module or its folder.
    const output = ['-o', bin, ...kubernetesPackages]
    await goBuild(module.dir, [...module.flags, ...flags, ...output], context)
    await rm(scratch, { recursive: true })
    for (const [program, names] of Object.entries(kubernetesPrograms))
      for (const name of names) await symlink(program, join(bin, name))
    const pause = join(await kubernetesFolder(source, context), 'build/pause/linux/pause.c')
    const compiler = crossCompiler(context.arch)
    await run(compiler, [
      '-Os',
      '-Wall',
      '-static',
      '-s',
      '-DVERSION=mayfly',
      pause,
      '-o',
      join(bin, 'pause'),
    ])
  }
  return cached(`kubernetes-${context.arch}`, [inputs, checkoutState], produce, announce)
}

/** The module that is compiled, with our changes to Kubernetes. */
interface KubernetesModule {
  dir: string
  /** What Go has to be told about it. */
  flags: string[]
}

/**
 * Makes the module that Kubernetes is compiled from.
 *
 * @param scratch Folder for it, which must not exist; nothing outside is changed
 */
export async function kubernetesModule(
  source: KubernetesSource,
  context: Sources,
  scratch: string,
): Promise<KubernetesModule> {
  await mkdir(scratch)
  const { changed, ...module } = await overlayable(source, context, scratch)
  if (source.unchanged) return module
  const added = join(context.sources, 'kubernetes/added')
  const overlay = await overlayChanges(changed, added, join(scratch, 'changes'))
  return { ...module, flags: [...module.flags, overlay] }
}

/** Go overlays nothing in its module cache: the module is built with links to the folders there instead. */
async function overlayable(
  source: KubernetesSource,
  context: Sources,
  scratch: string,
): Promise<KubernetesModule & { changed: ChangedModules & ChangedLibraries }> {
  const dir = join(context.sources, 'kubernetes')
  if (source.kind === 'checkout') {
    const flags = await moduleFile(source, dir, scratch)
    const requirements = join(scratch, checkoutModules)
    const libraries = await linkLibraries(requirements, context, scratch)
    const replaced = Object.entries(libraries).map(([module, folder]) => `replace ${module} => ${folder}\n`)
    await appendFile(requirements, replaced.join(''))
    return { dir, flags, changed: { ...modulesOfTree(source.dir), ...libraries } }
  }
  // Kubernetes' libraries count from v0 where it counts from v1.
  const versionOf = (module: string) =>
    module === 'k8s.io/kubernetes' ? source.version : source.version.replace(/^v1/, 'v0')
  const modules = await Promise.all(
    changedModules.map(async (module) => [module, await link(module, versionOf(module), context, scratch)]),
  )
  const modFile = join(dir, modulesOf(source.version))
  const libraries = await linkLibraries(modFile, context, scratch)
  await symlink(join(context.sources, sharedModule.folder), join(scratch, sharedModule.folder))
  const isSource = (path: string) => path !== join(dir, 'added') && !/\.(ts|mod|sum)$/.test(path)
  await cp(dir, scratch, { recursive: true, filter: isSource })
  await copyFile(modFile.replace(/mod$/, 'sum'), join(scratch, 'go.sum'))
  await writeFile(join(scratch, 'go.mod'), withLinks(await readFile(modFile, 'utf8')))
  const changed = { ...(Object.fromEntries(modules) as ChangedModules), ...libraries }
  return { dir: scratch, flags: [], changed }
}

/** Links to the changed libraries of others, in the versions that a module file requires. */
async function linkLibraries(goMod: string, context: Sources, scratch: string): Promise<ChangedLibraries> {
  const links = await Promise.all(
    changedLibraries.map(async (module) => {
      const version = await pinnedVersion(goMod, module)
      if (version === undefined)
        throw new MayflyError('NODE_IMAGE_BUILD_FAILED', `${goMod} does not require ${module}`)
      return [module, await link(module, version, context, scratch)]
    }),
  )
  return Object.fromEntries(links) as ChangedLibraries
}

/** Makes a link to a module in Go's module cache, at the module's path in the folder. */
async function link(module: string, version: string, context: Sources, scratch: string): Promise<string> {
  const folder = join(scratch, module)
  await mkdir(dirname(folder), { recursive: true })
  await symlink(await downloaded(module, version, context), folder)
  return folder
}

/** Module requirements by which Go takes the changed modules, and the shared one, from links beside them. */
function withLinks(requirements: string): string {
  const linked = [...changedModules, ...changedLibraries]
  const folders = new Map<string, string>(linked.map((module) => [module, module]))
  folders.set(sharedModule.name, sharedModule.folder)
  const isLinked = (line: string) => {
    const [, module = ''] = /^(?:replace)?\s*(\S+) =>/.exec(line) ?? []
    return folders.has(module)
  }
  // The paths are in the program's build information: relative ones are the same on every host.
  const links = [...folders].map(([module, folder]) => `replace ${module} => ./${folder}`)
  const kept = requirements.split('\n').filter((line) => !isLinked(line))
  return [...kept, ...links, ''].join('\n')
}

/** Linker flags that tell Kubernetes its version, as the makefiles of its source tree do. */
function versionFlags(version: string, epoch: number): string {
  const [, major, minor] = /^v(\d+)\.(\d+)/.exec(version) ?? []
  const values = {
    gitVersion: version,
    gitMajor: major,
    gitMinor: minor,
    gitTreeState: 'clean',
    buildDate: new Date(epoch * 1000).toISOString().replace('.000', ''),
  }
  return ['k8s.io/component-base/version', 'k8s.io/client-go/pkg/version']
    .flatMap((at) => Object.entries(values).map(([name, value]) => `-X ${at}.${name}=${value}`))
    .join(' ')
}

/** The module file that pins a version: the default version's is go.mod itself. */
function modulesOf(version: string): string {
  return version === kubernetesVersions[0] ? 'go.mod' : `${version}.mod`
}

/** The module file that is written for a checkout. */
const checkoutModules = 'checkout.mod'

/**
 * The flags that choose Kubernetes' module file.
 *
 * @param dir The `kubernetes/` folder of the recipe
 * @param scratch Folder for the module file of a checkout
 */
export async function moduleFile(source: KubernetesSource, dir: string, scratch: string): Promise<string[]> {
  if (source.kind === 'modules') {
    const pinned = modulesOf(source.version)
    return pinned === 'go.mod' ? [] : [`-modfile=${join(dir, pinned)}`]
  }
  const upstream = await readFile(join(source.dir, 'go.mod'), 'utf8')
  const staged = [...upstream.matchAll(/^\s*(k8s\.io\/\S+) => (\.\/staging\/\S+)$/gm)]
  const path = join(scratch, checkoutModules)
  await writeFile(
    path,
    [
      'module mayfly.io/node-image/kubernetes',
      ...(upstream.match(/^(go|godebug) .+$/gm) ?? []),
      'require k8s.io/kubernetes v0.0.0',
      `replace k8s.io/kubernetes => ${source.dir}`,
      `replace ${sharedModule.name} => ../${sharedModule.folder}`,
      ...staged.map(([, module, path]) => `replace ${module} => ${resolve(source.dir, path ?? '')}`),
      '',
    ].join('\n\n'),
  )
  await copyFile(join(source.dir, 'go.sum'), join(scratch, checkoutModules.replace(/mod$/, 'sum')))
  await run('go', ['mod', 'tidy', `-modfile=${path}`], { cwd: dir, env: { GOFLAGS: '-mod=mod' } })
  return [`-modfile=${path}`]
}
