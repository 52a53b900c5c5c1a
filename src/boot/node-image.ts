import type { ClusterSpec } from '../config/index.ts'
import { type Engine, engineStatus, inspectImage } from '../engine/index.ts'
import { MayflyError } from '../errors.ts'
import { nodeImageContentLabel, nodeImageLabel, nodeImageVersion } from './node-document.ts'
import { type SnapshotManifest, snapshotLabel } from './snapshot-manifest.ts'

/** What is known of the node image. */
export interface NodeImageFacts {
  id: string
  kubernetes: string
  shipped: SnapshotManifest | undefined
}

/** What is known of the image that the first control plane boots from; the other nodes' images are checked too. */
export async function nodeImageFacts(engine: Engine, { nodes }: ClusterSpec): Promise<NodeImageFacts> {
  const ordered = [...nodes].sort((one, other) => one.role.localeCompare(other.role))
  const images = [...new Set(ordered.map(({ image }) => image))]
  const [first] = await Promise.all(images.map((image) => imageFacts(engine, image)))
  if (!first) throw new Error('a specification without nodes')
  return first
}

async function imageFacts(engine: Engine, image: string): Promise<NodeImageFacts> {
  const found = await inspectImage(engine, image).catch((thrown: unknown) => {
    if (engineStatus(thrown) !== 404) throw thrown
  })
  if (!found) {
    throw new MayflyError('NODE_IMAGE_MISSING', `${engine.describe()} has no image "${image}"`, {
      hint: `Pull it with \`docker pull ${image}\`, or build one of mayfly's own with \`npx mayfly build node-image\``,
    })
  }
  const labels: Record<string, string> = found.Config?.Labels ?? {}
  const kubernetes = labels['io.mayfly.kubernetes']
  const version = labels[nodeImageLabel]
  if (kubernetes === undefined || version !== nodeImageVersion) {
    const why =
      kubernetes === undefined
        ? 'is no node image of mayfly: it lacks the label io.mayfly.kubernetes'
        : `was built by another version of mayfly: its label ${nodeImageLabel} is ${version}, not ${nodeImageVersion}`
    throw new MayflyError('NODE_IMAGE_UNFIT', `Image "${image}" ${why}`, {
      hint: 'Build a node image with `npx mayfly build node-image`',
    })
  }
  const shipped = labels[snapshotLabel]
  return {
    // Two builds of one content differ in their ids.
    id: labels[nodeImageContentLabel] ?? found.Id,
    kubernetes,
    shipped: shipped ? (JSON.parse(shipped) as SnapshotManifest) : undefined,
  }
}
