import type { KubeObject } from '../kube/index.ts'
import { podTemplates } from './pod-templates.ts'
import type { SnapshotManifest } from './snapshot-manifest.ts'
import type { SnapshotContents } from './snapshot-store.ts'

/** The state of a cluster that ran, without what only that cluster can use. */
export interface PortableState {
  /** etcd's keys, as `etcd.jsonl.gz` of a base snapshot. */
  etcd: Buffer
  /** Pods that its nodes ran. */
  pods: readonly KubeObject[]
  namespaces: readonly string[]
}

/**
 * A base snapshot made of another one and a state that a cluster restored from that one came to. The cluster's own pods
 * start in place, as they do from the other; those of all other workloads are made by controllers.
 *
 * @param baseFiles Files of the other snapshot by their paths in it
 */
export function deriveSnapshot(
  base: SnapshotManifest,
  baseFiles: ReadonlyMap<string, Buffer>,
  { etcd, pods, namespaces }: PortableState,
): { manifest: SnapshotManifest; contents: SnapshotContents } {
  const own = new Set(base.pods.map(({ name, namespace }) => `${namespace}/${name}`))
  const templates = podTemplates(pods).filter(({ template }) =>
    own.has(`${template.namespace}/${template.name}`),
  )
  const manifest: SnapshotManifest = {
    ...base,
    namespaces: [...namespaces],
    pods: templates.map(({ template }) => template),
  }
  const kept = [...baseFiles].filter(([path]) => path.startsWith('files/') || path === 'static-pods.json')
  return {
    manifest,
    contents: [
      ...kept,
      ...templates.map(({ template, text }) => [`pods/${template.name}.json`, text] as const),
      ['etcd.jsonl.gz', etcd],
    ],
  }
}
