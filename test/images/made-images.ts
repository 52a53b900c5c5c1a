/** Image archives made in memory, entry by entry, so that each test says what is in them. */
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'
import { pack } from 'tar-stream'

/** A file, directory, link or deletion mark of a layer. */
export interface MadeFile {
  path: string
  content?: string | Uint8Array
  mode?: number
  uid?: number
  linkTo?: string
  directory?: true
}

/** An image in the making; layers are bottom up. */
export interface MadeImage {
  names: string[]
  layers: Buffer[]
  architecture?: string
  config?: object
}

export function sha256(bytes: string | Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

export async function tar(files: readonly MadeFile[]): Promise<Buffer> {
  const archive = pack()
  for (const { path, content = '', mode = 0o644, uid = 0, linkTo, directory } of files) {
    const owner = { name: path, uid, gid: uid, mtime: new Date(0) }
    if (linkTo !== undefined) archive.entry({ ...owner, type: 'symlink', linkname: linkTo })
    else if (directory) archive.entry({ ...owner, type: 'directory', mode: mode === 0o644 ? 0o755 : mode })
    else archive.entry({ ...owner, mode }, Buffer.from(content))
  }
  archive.finalize()
  const chunks: Buffer[] = []
  for await (const chunk of archive) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

/** A layer with BusyBox, so that what an image holds can be looked at by running it. */
export async function busyboxLayer(): Promise<Buffer> {
  const busybox = ['/bin/busybox', '/usr/bin/busybox'].find((file) => existsSync(file))
  if (!busybox) throw new Error('These tests need a static BusyBox: apt-get install busybox-static')
  return tar([
    { path: 'bin', directory: true },
    { path: 'bin/busybox', content: readFileSync(busybox), mode: 0o755 },
    ...['sh', 'cat', 'ls', 'sleep', 'stat', 'sha256sum'].map((applet) => ({
      path: `bin/${applet}`,
      linkTo: 'busybox',
    })),
  ])
}

export function configOf({ layers, architecture = 'amd64', config = {} }: Omit<MadeImage, 'names'>): Buffer {
  return Buffer.from(
    JSON.stringify({
      architecture,
      os: 'linux',
      created: '2024-01-01T00:00:00Z',
      config: { Env: ['PATH=/bin'], Cmd: ['/bin/sleep', '1000000'], ...config },
      rootfs: { type: 'layers', diff_ids: layers.map(sha256) },
      history: layers.map(() => ({ created_by: 'a test' })),
    }),
  )
}

/** What `docker save` writes; layers are named by their digests. */
export async function dockerArchive(images: readonly MadeImage[]): Promise<Buffer> {
  const files: MadeFile[] = []
  const manifest = images.map((image) => {
    const config = configOf(image)
    const hex = sha256(config).slice(7)
    files.push(
      ...image.layers.map((layer) => ({ path: `${sha256(layer).slice(7)}/layer.tar`, content: layer })),
    )
    files.push({ path: `${hex}.json`, content: config })
    return {
      Config: `${hex}.json`,
      RepoTags: image.names,
      Layers: image.layers.map((layer) => `${sha256(layer).slice(7)}/layer.tar`),
    }
  })
  return tar([...distinct(files), { path: 'manifest.json', content: JSON.stringify(manifest) }])
}

interface Descriptor {
  mediaType: string
  digest: string
  size: number
  platform?: object
  annotations?: Record<string, string>
}

/**
 * An OCI layout as `docker buildx build --output type=oci` writes it: gzipped layers, an index over one manifest for
 * each image, and an attestation manifest for a platform that is none.
 */
export async function ociArchive(images: readonly MadeImage[]): Promise<Buffer> {
  const files: MadeFile[] = [{ path: 'oci-layout', content: '{"imageLayoutVersion":"1.0.0"}' }]
  const blob = (content: Buffer, mediaType: string): Descriptor => {
    const digest = sha256(content)
    files.push({ path: `blobs/${digest.replace(':', '/')}`, content })
    return { mediaType, digest, size: content.length }
  }
  const manifestOf = (image: MadeImage) => {
    const manifest = {
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      config: blob(configOf(image), 'application/vnd.oci.image.config.v1+json'),
      layers: image.layers.map((layer) =>
        blob(gzipSync(layer), 'application/vnd.oci.image.layer.v1.tar+gzip'),
      ),
    }
    return {
      ...blob(Buffer.from(JSON.stringify(manifest)), manifest.mediaType),
      platform: { os: 'linux', architecture: image.architecture ?? 'amd64' },
    }
  }
  const manifests: Descriptor[] = images.map(manifestOf)
  const attestation = manifestOf({ names: [], layers: [Buffer.from('{"_type":"in-toto"}')] })
  manifests.push({
    ...attestation,
    platform: { os: 'unknown', architecture: 'unknown' },
    annotations: { 'vnd.docker.reference.type': 'attestation-manifest' },
  })
  const mediaType = 'application/vnd.oci.image.index.v1+json'
  const index = blob(Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, manifests })), mediaType)
  const top = (images[0]?.names ?? []).map((name) => ({
    ...index,
    annotations: { 'io.containerd.image.name': name },
  }))
  const indexJson = { schemaVersion: 2, mediaType, manifests: top.length > 0 ? top : [index] }
  return tar([...distinct(files), { path: 'index.json', content: JSON.stringify(indexJson) }])
}

function distinct(files: MadeFile[]): MadeFile[] {
  return [...new Map(files.map((file) => [file.path, file])).values()]
}
