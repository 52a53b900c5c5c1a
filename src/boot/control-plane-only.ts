import { type ContainerSpec, noPrivilege } from '../engine/index.ts'
import { label } from '../reaper/index.ts'
import { apiServerMapping, type NodeSurroundings } from './containers.ts'
import { controlPlaneHost } from './endpoints.ts'
import type { ClusterPlan, PlannedNode } from './plan.ts'
import type { SnapshotManifest } from './snapshot-manifest.ts'

/**
 * The container of a cluster without nodes: etcd, the API server and the controller manager are its processes. It needs no
 * right that other containers do not have.
 */
export function controlPlaneContainer(
  plan: ClusterPlan,
  { spec, addresses }: PlannedNode,
  { labels, network, apiServerHostPort }: NodeSurroundings,
): ContainerSpec {
  const [ipv4, ipv6] = [addresses.find((a) => !a.includes(':')), addresses.find((a) => a.includes(':'))]
  return {
    name: spec.name,
    hostname: spec.name,
    image: spec.image,
    entrypoint: ['/usr/local/bin/mayfly-node', 'control-plane'],
    labels: { ...labels, [label.role]: spec.role },
    privilege: noPrivilege,
    stopSignal: 'SIGTERM',
    healthCheck: false,
    tmpfs: { '/tmp': 'exec', '/run': 'exec' },
    // etcd's data outlives a stop, and is not on the engine's slower layered file system.
    volumes: ['/var/lib/etcd'],
    network,
    ...(ipv4 && { ipv4 }),
    ...(ipv6 && { ipv6 }),
    extraHosts: { [controlPlaneHost]: addresses[0] ?? '' },
    ports: [apiServerMapping(plan, apiServerHostPort)],
    ...(spec.cpus !== undefined && { cpus: spec.cpus }),
    ...(spec.memoryBytes !== undefined && { memoryBytes: spec.memoryBytes }),
    restart: { onFailure: 1 },
  }
}

/** Which files of a snapshot such a control plane reads. */
export function controlPlaneOnlyFiles({ controlPlaneFiles }: SnapshotManifest): string[] {
  return controlPlaneFiles.filter((path) =>
    /\/(etcd|kube-apiserver|kube-controller-manager)\.yaml$/.test(path),
  )
}

/**
 * Keys of a snapshot that only make sense with nodes: what a cluster of nodes brings as pods, and what these need.
 * Controllers would only make pods of it that never run. The patterns are Go's path.Match.
 */
export function keysOfNodes({ dnsAddress }: Pick<ClusterPlan, 'dnsAddress'>): string[] {
  return [
    `/registry/ipaddresses/${dnsAddress}`,
    '/registry/controllerrevisions/kube-system/kindnet-*',
    '/registry/controllerrevisions/kube-system/kube-proxy-*',
    '/registry/daemonsets/kube-system/kindnet',
    '/registry/daemonsets/kube-system/kube-proxy',
    '/registry/deployments/kube-system/coredns',
    '/registry/replicasets/kube-system/coredns-*',
    '/registry/services/specs/kube-system/kube-dns',
    '/registry/storageclasses/standard',
    ...['configmaps', 'deployments', 'replicasets', 'rolebindings', 'roles', 'serviceaccounts'].map(
      (plural) => `/registry/${plural}/local-path-storage/*`,
    ),
    '/registry/namespaces/local-path-storage',
  ]
}
