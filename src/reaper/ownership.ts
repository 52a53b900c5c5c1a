import { randomUUID } from 'node:crypto'
import { formatIdentity, type Liveness, livenessOf, parseIdentity, thisProcess } from './process-identity.ts'

/** Labels on every container, network and volume of ours. */
export const label = {
  /** Name of the cluster. */
  cluster: 'io.mayfly.cluster',
  /** The process that it lives and dies with (see `process-identity.ts`), or `none`. */
  owner: 'io.mayfly.owner',
  /** One creation of a cluster: of several with one name, only the first gets past its network. */
  instance: 'io.mayfly.instance',
  /** Groups what one test run made, over all its processes. */
  run: 'io.mayfly.run',
  /** ISO time, or `never`. */
  expires: 'io.mayfly.expires',
  /** What it is within the cluster: `control-plane`, `worker`, ... */
  role: 'io.mayfly.role',
  /** `true` on a cluster that outlives the process that made it. */
  keep: 'io.mayfly.keep',
  /** The process that makes a kept cluster. What it leaves half-made does not outlive it. */
  creator: 'io.mayfly.creator',
} as const

/** How long a cluster may live when its owner can't be looked at: 24 h, longer than any test run. */
export const defaultTtlMs = 24 * 60 * 60 * 1000

/** Labels of one cluster's belongings. */
export type Labels = Record<string, string>

let ownRun: string | undefined

/** The id of this test run: `MAYFLY_RUN`, or a random one for each process. */
export function runId(): string {
  ownRun ??= process.env['MAYFLY_RUN'] || randomUUID()
  return ownRun
}

/**
 * The labels that say whose a cluster is; callers add {@link label.role}.
 *
 * @param options.ttlMs How long it may live when nobody can tell whether its owner does. Default 24 h, with `keep`
 *   without limit
 * @param options.keep It outlives this process, and only expiry or a `delete` ends it. Default false
 * @param options.retain With `keep`: that holds even when it was not made to its end. Default false
 * @param options.run Default {@link runId}
 */
export function ownership(
  clusterName: string,
  {
    ttlMs,
    keep = false,
    retain = false,
    run = runId(),
  }: { ttlMs?: number | undefined; keep?: boolean; retain?: boolean; run?: string } = {},
): Labels {
  const lifetime = ttlMs ?? (keep ? undefined : defaultTtlMs)
  return {
    [label.cluster]: clusterName,
    [label.owner]: keep ? 'none' : formatIdentity(thisProcess()),
    [label.instance]: randomUUID(),
    [label.run]: run,
    [label.expires]: lifetime === undefined ? 'never' : new Date(Date.now() + lifetime).toISOString(),
    ...(keep && { [label.keep]: 'true' }),
    ...(keep && !retain && { [label.creator]: formatIdentity(thisProcess()) }),
  }
}

/** What {@link whyOrphaned} knows besides the labels. */
export interface OrphanView {
  now: number
  /** The engine runs on this host, so an earlier boot of this host name is an earlier boot of this host. */
  engineIsLocal: boolean
  liveness?: (owner: NonNullable<ReturnType<typeof parseIdentity>>) => Liveness
  /** Instances among the kept ones that were never made to their end. Default none */
  unfinished?: ReadonlySet<string>
}

/**
 * Why something with these labels may be deleted; `undefined` when it may not.
 *
 * An owner that lives protects its things even past their expiry. An owner that can't be looked at (another host,
 * another container) protects them until then.
 */
export function whyOrphaned(labels: Labels, view: OrphanView): string | undefined {
  const owner = parseIdentity(labels[label.owner] ?? '')
  if (owner && labels[label.keep] !== 'true') {
    const seen = (view.liveness ?? livenessOf)(owner)
    if (seen === 'alive') return undefined
    if (seen === 'dead') return `its owner, process ${owner.pid}, is gone`
    if (seen === 'earlier boot' && view.engineIsLocal) return 'it is from before the last boot'
  }
  if (view.unfinished?.has(labels[label.instance] ?? '')) {
    return `process ${parseIdentity(labels[label.creator] ?? '')?.pid} never finished it`
  }
  const expires = Date.parse(labels[label.expires] ?? '')
  return expires <= view.now ? `it expired at ${labels[label.expires]}` : undefined
}

/** Whether something is kept, and the process that made it is gone: only then it may be unfinished. */
export function lostItsCreator(
  labels: Labels,
  { engineIsLocal, liveness = livenessOf }: Omit<OrphanView, 'now'>,
): boolean {
  const creator = parseIdentity(labels[label.creator] ?? '')
  const seen = creator && liveness(creator)
  return seen === 'dead' || (seen === 'earlier boot' && engineIsLocal)
}
