import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type CompileContext,
  goEnvironment,
  type KubernetesSource,
  moduleFile,
  pinnedVersion,
} from './compile.ts'
import { debianLicences, licencesOf } from './licence.ts'
import { crunSource, goComponents, kubernetesPackages } from './recipe.ts'
import { installedPackages } from './rootfs.ts'
import { run } from './toolchain.ts'

/** One thing that a node image contains. */
export interface Material {
  name: string
  version: string
  /** SPDX identifiers, or for Debian packages Debian's short names, joined by " AND ". `unknown` where no text was recognised. */
  licence: string
  /** `program`: built for the image; `c-library` and `go-module`: linked into programs; `debian`: a package of the root file system. */
  kind: 'program' | 'c-library' | 'go-module' | 'debian'
  /** For a library: the programs it is linked into. */
  usedBy?: string[]
}

/**
 * Everything in a node image: programs first, then the Go modules they are linked with, then Debian packages.
 *
 * @param rootfs Folder of the root file system's build step
 */
export async function listMaterials(
  kubernetes: KubernetesSource,
  context: CompileContext,
  rootfs: string,
): Promise<Material[]> {
  const programs: Material[] = []
  const linked = new Map<string, Material & { usedBy: string[] }>()
  const add = async (program: string, source: string, version: string, modules: GoModule[]) => {
    const own = modules.find(({ path }) => path === source) ?? modules.find(({ main }) => main)
    programs.push({ name: program, version, licence: await moduleLicence(own), kind: 'program' })
    for (const module of modules) {
      if (module === own || module.main) continue
      const known = linked.get(`${module.path}@${module.version}`)
      if (known) known.usedBy.push(program)
      else
        linked.set(`${module.path}@${module.version}`, {
          name: module.path,
          version: module.version,
          licence: await moduleLicence(module),
          kind: 'go-module',
          usedBy: [program],
        })
    }
  }
  for (const { module, source, programs: packages, tags, cgo } of goComponents) {
    const cwd = join(context.sources, module)
    const flags = tags ? [`-tags=${tags}`] : []
    const modules = await linkedModules(cwd, flags, Object.values(packages), goEnvironment(context, cgo))
    const version = (await pinnedVersion(join(cwd, 'go.mod'), source)) ?? 'this build'
    await add(module, source, version, modules)
  }
  const scratch = await mkdtemp(join(tmpdir(), 'mayfly-materials-'))
  try {
    const cwd = join(context.sources, 'kubernetes')
    const flags = await moduleFile(kubernetes, cwd, scratch)
    const modules = await linkedModules(cwd, flags, [...kubernetesPackages], goEnvironment(context))
    await add('kubernetes (and pause)', 'k8s.io/kubernetes', kubernetes.version, modules)
  } finally {
    await rm(scratch, { recursive: true })
  }
  programs.push({
    name: 'crun',
    version: crunSource.version,
    licence: 'GPL-2.0-or-later AND LGPL-2.1-or-later',
    kind: 'program',
  })
  programs.push({
    name: 'Go standard library',
    version: context.goVersion,
    licence: 'BSD-3-Clause',
    kind: 'program',
  })
  const libraries: Material[] = [
    await hostLibrary('libseccomp', 'libseccomp-dev', 'LGPL-2.1-only', ['crun', 'runc']),
    await hostLibrary('libcap', 'libcap-dev', 'BSD-3-Clause OR GPL-2.0-only', ['crun']),
    await hostLibrary('GNU C library', 'libc6-dev', 'LGPL-2.1-or-later', ['crun', 'runc', 'pause']),
    // Part of crun's source.
    { name: 'yajl', version: '2.1.0', licence: 'ISC', kind: 'c-library', usedBy: ['crun'] },
  ]
  const packages = (await installedPackages(rootfs)).map(
    ({ name, version, copyright }): Material => ({
      name,
      version,
      licence: joined(debianLicences(copyright)),
      kind: 'debian',
    }),
  )
  const modules = [...linked.values()].sort((a, b) => (a.name < b.name ? -1 : 1))
  return [...programs.sort((a, b) => (a.name < b.name ? -1 : 1)), ...libraries, ...modules, ...packages]
}

/** A C library of this host that is linked statically. */
async function hostLibrary(
  name: string,
  debianPackage: string,
  licence: string,
  usedBy: string[],
): Promise<Material> {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg's own placeholder
  const version = await run('dpkg-query', ['-W', '-f=${Version}\\n', debianPackage]).catch(() => '')
  return { name, version: version.split('\n')[0] || "this host's", licence, kind: 'c-library', usedBy }
}

interface GoModule {
  path: string
  version: string
  dir: string
  main: boolean
}

/** The modules that packages are linked with, as `go list` tells. */
async function linkedModules(
  cwd: string,
  flags: string[],
  packages: string[],
  env: NodeJS.ProcessEnv,
): Promise<GoModule[]> {
  const format =
    '{{with .Module}}{{.Path}}\t{{with .Replace}}{{.Version}}{{else}}{{.Version}}{{end}}\t{{.Dir}}\t{{.Main}}{{end}}'
  const listed = await run('go', ['list', '-deps', `-f=${format}`, ...flags, ...packages], { cwd, env })
  const modules = new Map<string, GoModule>()
  for (const line of listed.split('\n')) {
    const [path = '', version = '', dir = '', main] = line.split('\t')
    if (path) modules.set(path, { path, version: version || 'local', dir, main: main === 'true' })
  }
  return [...modules.values()]
}

const licenceFile = /^(licen[cs]e|copying|unlicense)/i

async function moduleLicence(module: GoModule | undefined): Promise<string> {
  if (!module) return 'unknown'
  if (module.main || module.path.startsWith('mayfly.io/')) return 'Apache-2.0'
  const names = (await readdir(module.dir)).filter((name) => licenceFile.test(name))
  const texts = await Promise.all(
    names.map((name) => readFile(join(module.dir, name), 'utf8').catch(() => '')),
  )
  return joined([...new Set(texts.flatMap(licencesOf))])
}

function joined(licences: readonly string[]): string {
  return licences.length > 0 ? licences.join(' AND ') : 'unknown'
}

/** A bill of materials as a table for people. */
export function materialsTable(materials: readonly Material[]): string {
  const rows = [
    ['NAME', 'VERSION', 'KIND', 'LICENCE'],
    ...materials.map((m) => [m.name, m.version, m.kind, m.licence]),
  ]
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
