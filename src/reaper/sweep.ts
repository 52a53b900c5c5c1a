import type { Abortable, Engine, Listed } from '../engine/index.ts'
import { sweepFolders } from './folders.ts'
import { label, type OrphanView, whyOrphaned } from './ownership.ts'
import { type Belongings, isEmpty, listBelongings, removeBelongings } from './removal.ts'

/** What a sweep removed, and why. */
export interface Swept {
  cluster: string
  /** As it reads after "because". */
  reason: string
}

/**
 * Removes what dead processes left and what has expired, on this engine and among this user's temporary folders. Things
 * of living processes, and kept ones that have not expired, stay.
 *
 * @returns One entry for each cluster of which something was removed
 * @throws MayflyError when something can't be removed
 */
export async function sweep(engine: Engine, { signal }: Abortable = {}): Promise<Swept[]> {
  const everything = await listBelongings(engine, { [label.cluster]: true }, { signal })
  const { orphans, swept } = sortOut(everything, { now: Date.now(), engineIsLocal: engine.local })
  await Promise.all([
    isEmpty(orphans) ? undefined : removeBelongings(engine, orphans, { signal }),
    sweepFolders(),
  ])
  return swept
}

function sortOut(everything: Belongings, view: OrphanView): { orphans: Belongings; swept: Swept[] } {
  const reasons = new Map<string, string>()
  const orphansOf = (things: Listed[]) =>
    things.filter(({ labels }) => {
      const reason = whyOrphaned(labels, view)
      if (reason) reasons.set(labels[label.cluster] ?? '', reason)
      return reason !== undefined
    })
  const orphans = {
    containers: orphansOf(everything.containers),
    networks: orphansOf(everything.networks),
    volumes: orphansOf(everything.volumes),
  }
  return { orphans, swept: [...reasons].map(([cluster, reason]) => ({ cluster, reason })) }
}
