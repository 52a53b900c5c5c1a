import { removeAdoptedImages } from '../adopt/index.ts'
import { connectEngine } from '../engine/index.ts'
import { deleteCluster as deleteBelongings, label, listBelongings } from '../reaper/index.ts'
import { sweepClusters } from './sweep.ts'

/**
 * Deletes the cluster of a name, whoever made it and whatever state it is in.
 *
 * @returns Whether there was one
 * @public
 */
export async function deleteCluster(
  name: string,
  { signal }: { signal?: AbortSignal } = {},
): Promise<boolean> {
  const engine = await connectEngine({ signal })
  const { containers, networks, volumes } = await deleteBelongings(engine, name, { signal })
  return containers.length + networks.length + volumes.length > 0
}

/**
 * A cluster that {@link clean} removed.
 *
 * @public
 */
export interface Cleaned {
  cluster: string
  /** As it reads after "because". */
  reason: string
}

/**
 * Removes what dead processes left on this engine, and what has expired; everything with `all`.
 *
 * @public
 */
export async function clean({
  all = false,
  signal,
}: {
  /** Also clusters that are kept or in use, and the images that were made of other projects' node images; default false. */
  all?: boolean
  signal?: AbortSignal
} = {}): Promise<Cleaned[]> {
  const engine = await connectEngine({ signal })
  const cleaned: Cleaned[] = await sweepClusters(engine, { signal })
  if (!all) return cleaned
  const { containers, networks, volumes } = await listBelongings(
    engine,
    { [label.cluster]: true },
    { signal },
  )
  const names = new Set(
    [...containers, ...networks, ...volumes].map(({ labels }) => labels[label.cluster] ?? ''),
  )
  await Promise.all([...names].map((name) => deleteBelongings(engine, name, { signal })))
  await removeAdoptedImages(engine)
  return [...cleaned, ...[...names].map((cluster) => ({ cluster, reason: 'all were to go' }))]
}
