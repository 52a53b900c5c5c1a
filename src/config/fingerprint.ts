import { createHash } from 'node:crypto'
import { completeSpec } from './defaults.ts'
import type { ClusterSpec, NodeSpec } from './spec.ts'

/**
 * A hash (SHA-256 in hex) over everything that decides what a base snapshot contains: subnets and families, proxy
 * mode, whether there is a CNI, feature gates, API settings, patches and node images. Clusters that differ in names,
 * addresses, numbers of nodes, ports, mounts, labels, limits, mirrors or proxies share it.
 *
 * @param imageIds Content ids of node images by their references. A reference that is absent stands for itself, so
 * that an image built anew under the same name is not noticed.
 */
export function specFingerprint(spec: ClusterSpec, imageIds: Readonly<Record<string, string>> = {}): string {
  return createHash('sha256')
    .update(snapshotContent(spec, (image) => imageIds[image] ?? image))
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
  const [first, ...others] = [...spec.nodes].sort((one, other) => rank(one) - rank(other))
  const initial = first && nodeContent(first, imageIdOf)
  return stableJson({
    networking: { podSubnets, serviceSubnets, ipFamily, kubeProxyMode, disableDefaultCNI },
    featureGates: spec.featureGates,
    runtimeConfig: spec.runtimeConfig,
    kubeadmConfigPatches: spec.kubeadmConfigPatches,
    kubeadmConfigPatchesJSON6902: spec.kubeadmConfigPatchesJSON6902,
    containerdConfigPatches: spec.containerdConfigPatches,
    containerdConfigPatchesJSON6902: spec.containerdConfigPatchesJSON6902,
    initial,
    // How many there are of a sort must not matter, nor nodes that are as one would expect.
    others: [
      ...new Set(
        others
          .filter((node) => !isOrdinary(node, initial, imageIdOf))
          .map((node) => stableJson({ role: node.role, ...nodeContent(node, imageIdOf) })),
      ),
    ].sort(),
  })
}

/** The first control plane, on which `kubeadm init` runs, comes first; sorting is stable. */
function rank({ role }: NodeSpec): number {
  return role === 'control-plane' ? 0 : 1
}

function nodeContent(
  { image, kubeadmConfigPatches, kubeadmConfigPatchesJSON6902 }: NodeSpec,
  imageIdOf: (image: string) => string,
) {
  return { image: imageIdOf(image), kubeadmConfigPatches, kubeadmConfigPatchesJSON6902 }
}

/** A control plane like the first, or a worker with the first node's image and no patches. */
function isOrdinary(
  node: NodeSpec,
  initial: ReturnType<typeof nodeContent> | undefined,
  imageIdOf: (image: string) => string,
): boolean {
  const content = nodeContent(node, imageIdOf)
  if (node.role === 'control-plane') return stableJson(content) === stableJson(initial)
  return (
    content.image === initial?.image &&
    content.kubeadmConfigPatches.length === 0 &&
    content.kubeadmConfigPatchesJSON6902.length === 0
  )
}

/** JSON with the keys of objects in order. */
function stableJson(value: unknown): string {
  return JSON.stringify(value, (_, field: unknown) =>
    typeof field === 'object' && field !== null && !Array.isArray(field)
      ? Object.fromEntries(Object.entries(field).sort(([one], [other]) => (one < other ? -1 : 1)))
      : field,
  )
}
