import type { WantedImage } from './sources.ts'

/** What a node did about an image: it had it, it was streamed there, or it links to the engine's own layers. */
export type NodeLoad = 'present' | 'loaded' | 'zero-copy'

/** What became of one image. */
export interface LoadedImage {
  /** The sources that it came from, as they were written. */
  label: string
  /** The names under which nodes have it, in full: `docker.io/library/app:dev`. */
  names: string[]
  /** Node name → what it did. */
  nodes: Record<string, NodeLoad>
  /** Bytes of layers that were streamed for it; a layer of several images counts for each. */
  bytes: number
  /** One line for the log: which path was used, and why not a faster one. */
  summary: string
}

/** How far an image got. */
export interface ImageProgress {
  /** Node name → what it did. */
  nodes: Map<string, NodeLoad>
  /** Why it has to be streamed, if so. */
  reason?: string | undefined
}

/** How far all images got. */
export type LoadProgress = ReadonlyMap<WantedImage, ImageProgress>

/**
 * The report on an image, once all is done.
 *
 * @param sent Size of each layer that was streamed, by digest
 */
export function reportOn(
  { label, names, diffIDs }: WantedImage,
  { nodes, reason }: ImageProgress,
  sent: ReadonlyMap<string, number>,
): LoadedImage {
  const did = new Set(nodes.values())
  const bytes = did.has('loaded') ? diffIDs.reduce((total, diffID) => total + (sent.get(diffID) ?? 0), 0) : 0
  const parts = [
    ...(did.has('zero-copy') ? ["linked to the engine's own layers"] : []),
    ...(did.has('loaded') ? [`streamed, ${(bytes / 1e6).toFixed(1)} MB (${reason})`] : []),
  ]
  return {
    label,
    names,
    nodes: Object.fromEntries(nodes),
    bytes,
    summary: `${label}: ${parts.join('; ') || 'already on every node'}`,
  }
}
