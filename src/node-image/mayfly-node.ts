import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { constants, zstdCompress, zstdDecompress } from 'node:zlib'
import { type CompileContext, compile } from './compile.ts'
import { type Architecture, goComponents, sourceDateEpoch } from './recipe.ts'
import { installedGo } from './toolchain.ts'

/** `mayfly-node` for one architecture. */
export interface MayflyNode {
  /** Changes with the program. */
  key: string
  read(): Promise<Buffer>
}

/** The folder with the recipe, in a checkout and in the published package alike. */
export const recipeDir = join(dirname(fileURLToPath(import.meta.url)), '../../node-image')

/** Where the published package has the programs. A checkout has none, so that it runs what its source says. */
const packedDir = join(recipeDir, 'bin')

/**
 * Finds the program for an architecture: as the published package ships it, or else compiled from its source, which
 * the package and a checkout have as well.
 *
 * @throws MayflyError `NODE_IMAGE_BUILD_FAILED` when it has to be compiled and Go is missing
 */
export async function findMayflyNode(arch: Architecture, dir = packedDir): Promise<MayflyNode> {
  const packed = packedFile(dir, arch)
  if (existsSync(packed)) {
    const content = await readFile(packed)
    const key = createHash('sha256').update(content).digest('hex').slice(0, 16)
    return { key, read: () => promisify(zstdDecompress)(content) }
  }
  const { dir: built, key } = await compileMayflyNode(arch)
  return { key, read: () => readFile(join(built, 'bin/mayfly-node')) }
}

/** Puts the program for an architecture into the folder that the package ships. */
export async function packMayflyNode(arch: Architecture, dir = packedDir): Promise<void> {
  const { dir: built } = await compileMayflyNode(arch)
  await mkdir(dir, { recursive: true })
  const program = await readFile(join(built, 'bin/mayfly-node'))
  await writeFile(packedFile(dir, arch), await packProgram(program))
}

/** Packs a program. Measured: 32.5 MB become 9 MB in 14 s, and are unpacked in 0.1 s; Brotli saves 0.6 MB and takes 100 s. */
export async function packProgram(program: Buffer): Promise<Buffer> {
  const params = { [constants.ZSTD_c_compressionLevel]: 19, [constants.ZSTD_c_windowLog]: 26 }
  return promisify(zstdCompress)(program, { params })
}

/** Where a folder has the packed program for an architecture. */
export function packedFile(dir: string, arch: Architecture): string {
  return join(dir, `linux-${arch}.zst`)
}

async function compileMayflyNode(arch: Architecture) {
  const component = goComponents.find(({ module }) => module === 'mayfly-node')
  if (!component) throw new Error('the recipe has no mayfly-node')
  const goVersion = await installedGo()
  const context: CompileContext = { sources: recipeDir, arch, goVersion, epoch: sourceDateEpoch }
  return compile(component, context)
}
