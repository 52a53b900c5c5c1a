import { createHash } from 'node:crypto'
import { parse } from 'yaml'
import { completeSpec } from './defaults.ts'
import type { ClusterSpec, NodeSpec } from './spec.ts'

/**
 * A hash (SHA-256 in hex) over everything that decides what a base snapshot contains: subnets and families, proxy
 * mode, whether there is a CNI, feature gates, API settings, and the first control plane's image and kubeadm patches.
 * Clusters that differ in names, addresses, numbers of nodes, ports, mounts, labels, limits, mirrors, proxies or
 * containerd's configuration share it, and so do those whose patches are for one node's registration or kubelet.
 *
 * @param imageIds Content ids of node images by their references. A reference that is absent stands for itself, so
 * that an image built anew under the same name is not noticed.
 */
export function specFingerprint(spec: ClusterSpec, imageIds: Readonly<Record<string, string>> = {}): string {
  return createHash('sha256')
    .update(snapshotContent(spec, (image) => imageIds[image] ?? image))
    .digest('hex')
}

/** The same without the node image: clusters that share it can be in the same state. */
export function snapshotFingerprint(spec: ClusterSpec): string {
  return createHash('sha256')
    .update(snapshotContent(spec, () => 'any'))
    .digest('hex')
}

/**
 * Whether the base snapshot that a node image ships fits: all that decides a snapshot is at its default, and all
 * nodes have one image. Whether that image ships a snapshot at all is the image's to say.
 */
export function isDefaultBootSpec(spec: ClusterSpec): boolean {
  const sameImage = spec.nodes.every(({ image }) => image === spec.nodes[0]?.image)
  const anyImage = () => 'any'
  return sameImage && snapshotContent(spec, anyImage) === snapshotContent(completeSpec({}, {}), anyImage)
}

function snapshotContent(spec: ClusterSpec, imageIdOf: (image: string) => string): string {
  const { podSubnets, serviceSubnets, ipFamily, kubeProxyMode, disableDefaultCNI } = spec.networking
  // The node on which `kubeadm init` runs.
  const first = spec.nodes.find(({ role }) => role === 'control-plane')
  return stableJson({
    networking: { podSubnets, serviceSubnets, ipFamily, kubeProxyMode, disableDefaultCNI },
    featureGates: spec.featureGates,
    runtimeConfig: spec.runtimeConfig,
    ...bakedPatches(spec, 'cluster'),
    first: first && { image: imageIdOf(first.image), ...bakedPatches(first, 'node') },
  })
}

type Patches = Pick<NodeSpec, 'kubeadmConfigPatches' | 'kubeadmConfigPatchesJSON6902'>

/** The patches that reach a snapshot; the others are applied to each node as it is restored. */
function bakedPatches(patches: Patches, of: 'cluster' | 'node'): Patches {
  const isBaked = (kind: string, touchesRegistrationOnly: () => boolean) =>
    kind === 'JoinConfiguration'
      ? false
      : kind === 'InitConfiguration'
        ? !touchesRegistrationOnly()
        : kind !== 'KubeletConfiguration' || of === 'cluster'
  return {
    kubeadmConfigPatches: patches.kubeadmConfigPatches.filter((text) => {
      const { kind, apiVersion: _, ...fields } = parse(text) as { kind: string; apiVersion?: string }
      return isBaked(kind, () => Object.keys(fields).every((field) => field === 'nodeRegistration'))
    }),
    kubeadmConfigPatchesJSON6902: patches.kubeadmConfigPatchesJSON6902.filter(({ kind, patch }) =>
      isBaked(kind, () => patch.every(({ path }) => /^\/nodeRegistration(\/|$)/.test(path))),
    ),
  }
}

/** JSON with the keys of objects in order. */
function stableJson(value: unknown): string {
  return JSON.stringify(value, (_, field: unknown) =>
    typeof field === 'object' && field !== null && !Array.isArray(field)
      ? Object.fromEntries(Object.entries(field).sort(([one], [other]) => (one < other ? -1 : 1)))
      : field,
  )
}
