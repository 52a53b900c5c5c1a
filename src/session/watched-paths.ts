import { manifestPaths } from '../kube/index.ts'
import { type MayflyOptions, planSession } from './options.ts'

/** Where a cluster's manifests and image archives are read from, as globs with absolute paths. */
export async function watchedPaths(options: MayflyOptions, root: string): Promise<string[]> {
  const { images, manifests } = planSession(options, root)
  const archives = images.flatMap((image) => {
    if (typeof image === 'string') return /\.(tar|tar\.gz|tgz)$/.test(image) ? image : []
    return 'archive' in image ? image.archive : []
  })
  return [...archives, ...(await manifestPaths(manifests, root))]
}
