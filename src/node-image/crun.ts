import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { MayflyError } from '../errors.ts'
import { type Announce, type Built, cached } from './cache.ts'
import type { CompileContext } from './compile.ts'
import { crunSource } from './recipe.ts'
import { crossCompiler, gnuTriplet, pkgConfigPath, run } from './toolchain.ts'

/** Options of its `configure`: nothing that is loaded at run time, so that one static program runs on any node. */
const options = [
  '--disable-shared',
  '--disable-systemd',
  '--disable-criu',
  '--disable-dl',
  '--enable-embedded-yajl',
]

/**
 * Compiles crun, which starts nearly all containers of a node, from Debian's source package; the folder has it in
 * `bin/`.
 *
 * @param rootfs Folder of the root file system's build step: the source comes from the same mirror
 * @throws MayflyError `NODE_IMAGE_BUILD_FAILED` when the source cannot be fetched or does not compile
 */
export async function compileCrun(
  context: CompileContext,
  rootfs: string,
  announce?: Announce,
): Promise<Built> {
  const inputs = [crunSource, options, context.arch, 1]
  const produce = async (draft: string) => {
    const source = join(draft, 'source')
    await mkdir(source)
    const archive = join(draft, 'source.tar.gz')
    await download(`${await debianMirror(rootfs)}/${crunSource.path}`, archive)
    await run('tar', ['-xf', archive, '-C', source, '--strip-components=1'])
    // What it says of itself; the archive has no repository that could be asked.
    await writeFile(join(source, 'git-version.h'), `#define GIT_VERSION "${crunSource.version}"\n`)
    await build(source, context)
    await mkdir(join(draft, 'bin'))
    await cp(join(source, 'crun'), join(draft, 'bin/crun'))
    await Promise.all([rm(source, { recursive: true }), rm(archive)])
  }
  return cached(`crun-${context.arch}`, inputs, produce, announce)
}

async function build(cwd: string, { arch }: CompileContext): Promise<void> {
  const env = {
    CC: crossCompiler(arch),
    CFLAGS: `-O2 -ffile-prefix-map=${cwd}=.`,
    PKG_CONFIG_PATH: pkgConfigPath(arch),
  }
  await run('./configure', [...options, `--host=${gnuTriplet(arch)}`], { cwd, env })
  // libtool's word for a static program, whose symbols -s leaves out
  await run('make', [`-j${availableParallelism()}`, 'LDFLAGS=-all-static -s'], { cwd, env })
}

/** Fetches a file as apt would, over the same proxies, and only when it is the one that the recipe means. */
async function download(url: string, to: string): Promise<void> {
  await run('/usr/lib/apt/apt-helper', ['download-file', url, to, `SHA256:${crunSource.sha256}`])
}

async function debianMirror(rootfs: string): Promise<string> {
  const file = join(rootfs, 'tree/etc/apt/sources.list')
  const [, mirror] = /^deb (?:\[.*?\] )?(\S+?)\/? /m.exec(await readFile(file, 'utf8')) ?? []
  if (mirror === undefined)
    throw new MayflyError('NODE_IMAGE_BUILD_FAILED', `${file} names no mirror of Debian's`)
  return mirror
}
