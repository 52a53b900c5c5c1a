import { type Engine, execOrThrow } from '../engine/index.ts'
import type { ImageNode } from './node-view.ts'
import { ctr } from './nodes.ts'

/** An image that was brought to a node. */
export interface NodeImage {
  /** Its id in the engine that it came from, which most have for the digest of its configuration; else that digest. */
  id: string
  /** Full names. */
  names: string[]
}

/** Node images pin what they bring, so that no kubelet removes it: https://github.com/containerd/containerd/blob/main/internal/cri/labels/labels.go */
const pinned = 'io.cri-containerd.pinned=pinned'

/** Where `mayfly-node` writes an image's id in the engine down: node-image/mayfly-node/internal/images/store.go. */
const engineId = /(?:^|,)io\.mayfly\.image\.engine-id=(sha256:[0-9a-f]+)(?:,|$)/

/**
 * The images that a node has beyond those of its node image.
 *
 * @throws MayflyError `EXEC_FAILED`
 */
export async function imagesOfNode(
  engine: Engine,
  { containerId }: ImageNode,
  signal: AbortSignal | undefined,
): Promise<NodeImage[]> {
  return imagesInTable(await execOrThrow(engine, containerId, [...ctr, 'images', 'ls'], { signal }))
}

/** Reads the table of `ctr images ls`, in which an image has a row for its id and one for each name. Pure. */
export function imagesInTable(table: string): NodeImage[] {
  const rows = table
    .split('\n')
    .slice(1)
    .map((line) => line.split(/\s+/))
    .filter((row) => row.length > 3 && !row.some((cell) => cell.split(',').includes(pinned)))
  const byManifest = Map.groupBy(rows, ([, , manifest = '']) => manifest)
  return [...byManifest.values()].flatMap((same) => {
    const references = same.map(([reference = '']) => reference)
    const own = references.find((reference) => reference.startsWith('sha256:'))
    const names = references.filter((reference) => !reference.startsWith('sha256:'))
    const id = same.flat().flatMap((cell) => engineId.exec(cell)?.[1] ?? [])[0] ?? own
    return own && id && names.length > 0 ? [{ id, names }] : []
  })
}
