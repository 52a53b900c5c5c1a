import { readFile as readHostFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type ContainerFile, type Engine, readFile } from '../engine/index.ts'
import { MayflyError } from '../errors.ts'
import { containerdFiles } from './containerd-config.ts'
import { hasOwnKubeletConfiguration, nodeKubeletConfiguration } from './kubeadm.ts'
import type { ClusterPlan, PlannedNode } from './plan.ts'
import type { BaseSnapshot } from './restore.ts'
import { kubeletConfigPath, shippedSnapshotDir } from './snapshot-manifest.ts'

/**
 * Files of a node that are made from files of its image: containerd's configuration with its patches, and the
 * kubelet's with the limits and patches of this node. The container was made and has not started.
 *
 * @throws MayflyError `CONFIG_INVALID` when a patch does not apply
 */
export async function nodeSettingsFiles(
  engine: Engine,
  container: string,
  plan: ClusterPlan,
  { spec }: PlannedNode,
  snapshot: BaseSnapshot,
): Promise<ContainerFile[]> {
  const files = await containerdFiles(engine, container, plan.spec)
  if (!hasOwnKubeletConfiguration(spec)) return files
  const inSnapshot = join('files', kubeletConfigPath)
  const ofCluster =
    snapshot.kind === 'stored'
      ? await readHostFile(join(snapshot.dir, inSnapshot))
      : await readFile(engine, container, join(shippedSnapshotDir, inSnapshot))
  if (!ofCluster) {
    throw new MayflyError('SNAPSHOT_UNFIT', `The base snapshot of ${container} has no kubelet configuration`)
  }
  const content = nodeKubeletConfiguration(String(ofCluster), spec, engine)
  return [...files, { path: kubeletConfigPath, content, mode: 0o600 }]
}
