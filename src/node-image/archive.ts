import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { pack } from 'tar-stream'
import type { Architecture } from './recipe.ts'
import { run } from './toolchain.ts'

/** A layer of an image: an uncompressed tar archive and the digest of its bytes. */
export interface ImageLayer {
  file: string
  digest: string
}

/** Writes a folder as a layer that depends on nothing but names, modes and contents. */
export async function archiveFolder(dir: string, file: string, epoch: number): Promise<ImageLayer> {
  const reproducible = [
    '--sort=name',
    `--mtime=@${epoch}`,
    '--owner=0',
    '--group=0',
    '--numeric-owner',
    '--format=gnu',
  ]
  await run('tar', [...reproducible, '-cf', file, '-C', dir, '.'])
  return describeLayer(file)
}

/** The layer that a tar archive is. Its digest is kept beside it, as finished steps never change. */
export async function describeLayer(file: string): Promise<ImageLayer> {
  const known = await readFile(`${file}.sha256`, 'utf8').catch(() => undefined)
  if (known) return { file, digest: known }
  const hash = createHash('sha256')
  await pipeline(createReadStream(file), hash)
  const digest = hash.digest('hex')
  await writeFile(`${file}.sha256`, digest)
  return { file, digest }
}

/** What a container of an image runs with; the field names are the image specification's. */
export interface ImageConfig {
  Entrypoint: string[]
  Env: string[]
  Labels: Record<string, string>
  StopSignal: string
}

/** An image to be written. */
export interface ImageDescription {
  reference: string
  arch: Architecture
  epoch: number
  config: ImageConfig
  layers: readonly ImageLayer[]
}

/**
 * An image as the stream that `docker load` and `podman load` read.
 *
 * @see https://github.com/moby/moby/blob/master/image/spec/v1.2.md (combined image JSON and file system changeset)
 */
export function imageArchive({ reference, arch, epoch, config, layers }: ImageDescription): Readable {
  const created = new Date(epoch * 1000).toISOString()
  const configuration = JSON.stringify({
    architecture: arch,
    os: 'linux',
    created,
    config,
    rootfs: { type: 'layers', diff_ids: layers.map(({ digest }) => `sha256:${digest}`) },
    history: layers.map(() => ({ created, created_by: 'mayfly build node-image' })),
  })
  const configName = `${createHash('sha256').update(configuration).digest('hex')}.json`
  const layerNames = layers.map(({ digest }) => `${digest}/layer.tar`)
  const archive = pack()
  const write = async () => {
    archive.entry({ name: configName }, configuration)
    for (const [at, layer] of layers.entries()) {
      const { size } = await stat(layer.file)
      await pipeline(createReadStream(layer.file), archive.entry({ name: layerNames[at] ?? '', size }))
    }
    archive.entry(
      { name: 'manifest.json' },
      JSON.stringify([{ Config: configName, RepoTags: [reference], Layers: layerNames }]),
    )
    archive.finalize()
  }
  write().catch((thrown: Error) => archive.destroy(thrown))
  return archive as unknown as Readable
}

/** Where a layer's archive is kept in the folder of its build step. */
export function layerFile(dir: string): string {
  return join(dir, 'layer.tar')
}
