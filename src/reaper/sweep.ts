import type { Abortable, Engine, Listed } from '../engine/index.ts'
import { sweepFolders } from './folders.ts'
import { label, lostItsCreator, type OrphanView, whyOrphaned } from './ownership.ts'
import { type Belongings, isEmpty, listBelongings, removeBelongings } from './removal.ts'

/** What a sweep removed, and why. */
export interface Swept {
  cluster: string
  /** As it reads after "because". */
  reason: string
}

/** How to sweep. */
export interface SweepOptions extends Abortable {
  /**
   * Tells whether a kept cluster was made to its end, by the names of its control planes' containers; asked only when
   * the process that made it is gone. Default: all were
   */
  wasFinished?: (controlPlanes: readonly string[]) => Promise<boolean>
}

/**
 * Removes what dead processes left and what has expired, on this engine and among this user's temporary folders. Things
 * of living processes, and kept ones that were finished and have not expired, stay.
 *
 * @returns One entry for each cluster of which something was removed
 * @throws MayflyError when something can't be removed
 */
export async function sweep(
  engine: Engine,
  { signal, wasFinished = async () => true }: SweepOptions = {},
): Promise<Swept[]> {
  const everything = await listBelongings(engine, { [label.cluster]: true }, { signal })
  const unfinished = await unfinishedAmong(everything, engine, wasFinished)
  const { orphans, swept } = sortOut(everything, {
    now: Date.now(),
    engineIsLocal: engine.local,
    unfinished,
  })
  await Promise.all([
    isEmpty(orphans) ? undefined : removeBelongings(engine, orphans, { signal }),
    sweepFolders(),
  ])
  return swept
}

/** The instances that nobody will finish any more. */
async function unfinishedAmong(
  { containers, networks, volumes }: Belongings,
  engine: Engine,
  wasFinished: NonNullable<SweepOptions['wasFinished']>,
): Promise<Set<string>> {
  const alone = [...containers, ...networks, ...volumes].filter(({ labels }) =>
    lostItsCreator(labels, { engineIsLocal: engine.local }),
  )
  const instances = new Set(alone.map(({ labels }) => labels[label.instance] ?? ''))
  const answers = [...instances].map(async (instance) => {
    const controlPlanes = containers.filter(
      ({ labels }) => labels[label.instance] === instance && labels[label.role] === 'control-plane',
    )
    // What can't be told is left alone.
    const finished = await wasFinished(controlPlanes.map(({ name }) => name)).catch(() => true)
    return finished ? [] : [instance]
  })
  return new Set((await Promise.all(answers)).flat())
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
