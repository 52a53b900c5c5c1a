import type { Cluster } from '../cluster/index.ts'
import { type KubeObject, kustomizeOnHost, loadManifests, type ManifestSource } from '../kube/index.ts'

/** Loads manifests, with paths that start from the project's root. */
export type ManifestLoader = (
  sources: ManifestSource | readonly ManifestSource[],
  signal?: AbortSignal,
) => Promise<KubeObject[]>

/**
 * Loads manifests for a cluster. Where this host has no program that builds kustomizations, kubectl of the cluster's nodes does.
 *
 * @param cluster Is asked for only then
 */
export function manifestLoader(
  root: string,
  cluster: () => Promise<Pick<Cluster, 'kubectl'>>,
): ManifestLoader {
  return (sources, signal) =>
    loadManifests(sources, {
      cwd: root,
      ...(signal && { signal }),
      kustomize: async (folder) =>
        (await kustomizeOnHost(folder, signal)) ??
        (await (await cluster()).kubectl(['kustomize', folder], { signal })).stdout,
    })
}

/** Loads manifests before there is a cluster, to find mistakes early. What only a cluster's node could build is left out. */
export async function checkManifests(
  sources: readonly ManifestSource[],
  root: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  // A function may need the cluster's images.
  if (sources.some((source) => typeof source === 'function')) return
  const kustomize = async (folder: string) => (await kustomizeOnHost(folder, signal)) ?? ''
  await loadManifests(sources, { cwd: root, kustomize, ...(signal && { signal }) })
}
