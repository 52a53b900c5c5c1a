import type { Kube } from './connection.ts'
import { list } from './crud.ts'
import type { KubeObject } from './objects.ts'

/**
 * Something that a component reported about an object, of which there may have been several alike.
 *
 * @public
 */
export interface KubeEvent {
  type: 'Normal' | 'Warning'
  reason: string
  message: string
  /** The object it is about. */
  about: {
    kind: string
    name: string
    namespace?: string
    uid?: string
    apiVersion?: string
    fieldPath?: string
  }
  /** How often it was seen, the first and the last time in RFC 3339. */
  count: number
  firstSeen: string
  lastSeen: string
  /** The component that reported it. */
  from: string
}

/**
 * The events of a namespace, or of all, the oldest first.
 *
 * @param about Only those about this object
 * @throws MayflyError `KUBE_REQUEST_FAILED`
 * @public
 */
export async function events(
  kube: Kube,
  namespace?: string,
  { about, signal }: { about?: KubeObject; signal?: AbortSignal | undefined } = {},
): Promise<KubeEvent[]> {
  const fieldSelector =
    about && `involvedObject.kind=${about.kind},involvedObject.name=${about.metadata.name}`
  const found = await list(kube, { apiVersion: 'v1', kind: 'Event' }, { namespace, signal, fieldSelector })
  return found.map(eventOf).sort((a, b) => a.lastSeen.localeCompare(b.lastSeen))
}

/**
 * An Event object in short. The two APIs that write it put times and counts in different fields.
 *
 * @public
 */
export function eventOf(event: KubeObject): KubeEvent {
  const { metadata, type, reason, message, note, involvedObject, source, reportingComponent, series, count } =
    event
  const created = metadata.creationTimestamp ?? ''
  return {
    type: type === 'Warning' ? 'Warning' : 'Normal',
    reason: reason ?? '',
    message: (message ?? note ?? '').trim(),
    about: involvedObject ?? {},
    count: series?.count ?? count ?? 1,
    firstSeen: event['firstTimestamp'] ?? event['eventTime'] ?? created,
    lastSeen: series?.lastObservedTime ?? event['lastTimestamp'] ?? event['eventTime'] ?? created,
    from: source?.component || reportingComponent || '',
  }
}
