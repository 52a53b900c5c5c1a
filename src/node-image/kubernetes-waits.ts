import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { MayflyError } from '../errors.ts'

/** A constant of Kubernetes' that makes a cluster of few nodes wait for nothing. */
export interface ShortenedWait {
  /** Path in Kubernetes' source. */
  file: string
  /** As upstream has it, since v1.34 at least. */
  from: string
  to: string
}

/**
 * Waits of Kubernetes' own that no flag shortens. They spare the API server of a cluster with thousands of nodes; here
 * each is time in which a boot, or a pod of a suite, stands still. Nothing else of Kubernetes is changed.
 */
export const shortenedWaits: readonly ShortenedWait[] = [
  // Until these two have run /healthz fails, and nothing else starts. They wait before they look for the first time.
  {
    file: 'pkg/registry/rbac/rest/storage_rbac.go',
    from: 'wait.Poll(1*time.Second,',
    to: 'wait.PollImmediate(1*time.Second,',
  },
  {
    file: 'pkg/registry/rbac/rest/storage_rbac.go',
    from: 'if _, err := client.RbacV1().ClusterRoles().List(context.TODO(), metav1.ListOptions{}); err != nil {',
    to: 'clusterRoles, err := listClusterRoles(client)\n\tif err != nil {',
  },
  {
    file: 'pkg/registry/rbac/rest/storage_rbac.go',
    from: 'if _, err := client.RbacV1().ClusterRoleBindings().List(context.TODO(), metav1.ListOptions{}); err != nil {',
    to: 'clusterRoleBindings, err := listClusterRoleBindings(client)\n\tif err != nil {',
  },
  {
    file: 'pkg/registry/rbac/rest/storage_rbac.go',
    from: 'ClusterRoleModifier{Client: client.RbacV1().ClusterRoles()}',
    to: 'ClusterRoleModifier{Client: clusterRoles}',
  },
  {
    file: 'pkg/registry/rbac/rest/storage_rbac.go',
    from: 'ClusterRoleBindingClientAdapter{Client: client.RbacV1().ClusterRoleBindings()}',
    to: 'ClusterRoleBindingClientAdapter{Client: clusterRoleBindings}',
  },
  {
    file: 'pkg/registry/scheduling/rest/storage_scheduling.go',
    from: 'wait.Poll(1*time.Second,',
    to: 'wait.PollImmediate(1*time.Second,',
  },
  // Between a kubelet's finding its Node and its asking for pods.
  {
    file: 'pkg/kubelet/config/apiserver.go',
    from: 'WaitForAPIServerSyncPeriod = 1 * time.Second',
    to: 'WaitForAPIServerSyncPeriod = 20 * time.Millisecond',
  },
  // Between a container's start and the kubelet's noticing it.
  {
    file: 'pkg/kubelet/kubelet.go',
    from: 'genericPlegRelistPeriod    = time.Second * 1',
    to: 'genericPlegRelistPeriod    = 300 * time.Millisecond',
  },
  // Three stages, one after another, between a pod's arrival and its sandbox.
  {
    file: 'pkg/kubelet/volumemanager/volume_manager.go',
    from: 'desiredStateOfWorldPopulatorLoopSleepPeriod = 100 * time.Millisecond',
    to: 'desiredStateOfWorldPopulatorLoopSleepPeriod = 30 * time.Millisecond',
  },
  {
    file: 'pkg/kubelet/volumemanager/volume_manager.go',
    from: 'reconcilerLoopSleepPeriod = 100 * time.Millisecond',
    to: 'reconcilerLoopSleepPeriod = 30 * time.Millisecond',
  },
  {
    file: 'pkg/kubelet/volumemanager/volume_manager.go',
    from: 'podAttachAndMountRetryInterval = 300 * time.Millisecond',
    to: 'podAttachAndMountRetryInterval = 30 * time.Millisecond',
  },
]

/** What of ours stands beside Kubernetes' own files, by its path in Kubernetes' source. */
const addedFiles = ['pkg/registry/rbac/rest/mayfly_listed.go']

/**
 * Makes an overlay for Go's compiler in which Kubernetes has shortened waits.
 *
 * @param kubernetes Folder of Kubernetes' source, by the path by which Go knows it; nothing in it is changed
 * @param added Folder with the files that are ours
 * @param scratch Folder for the files that stand in for its own
 * @returns The compiler's flag
 * @throws MayflyError `NODE_IMAGE_BUILD_FAILED` when a wait is not where it used to be
 */
export async function shortenWaits(kubernetes: string, added: string, scratch: string): Promise<string> {
  const files = new Set(shortenedWaits.map(({ file }) => file))
  const replacements: Record<string, string> = {}
  for (const file of files) {
    const replacement = join(scratch, file)
    await mkdir(dirname(replacement), { recursive: true })
    await writeFile(replacement, withShortWaits(file, await readFile(join(kubernetes, file), 'utf8')))
    replacements[join(kubernetes, file)] = replacement
  }
  for (const file of addedFiles) replacements[join(kubernetes, file)] = join(added, file)
  const overlay = join(scratch, 'overlay.json')
  await writeFile(overlay, JSON.stringify({ Replace: replacements }))
  return `-overlay=${overlay}`
}

/** A file of Kubernetes' with its waits shortened. Pure. */
export function withShortWaits(file: string, text: string): string {
  const waits = shortenedWaits.filter((wait) => wait.file === file)
  return waits.reduce((changed, { from, to }) => {
    if (changed.includes(from)) return changed.replace(from, to)
    throw new MayflyError('NODE_IMAGE_BUILD_FAILED', `Kubernetes' ${file} has no "${from}"`, {
      hint: 'Correct src/node-image/kubernetes-waits.ts for this version of Kubernetes',
    })
  }, text)
}
