import { MayflyError } from '../errors.ts'
import type { Kube } from './connection.ts'

/**
 * Refuses at once what only a cluster can do that runs pods.
 *
 * @param doing As it reads after "Could not"
 * @throws MayflyError `CONTROL_PLANE_ONLY`
 */
export function assertPodsRun({ controlPlaneOnly }: Pick<Kube, 'controlPlaneOnly'>, doing: string): void {
  if (controlPlaneOnly) throw controlPlaneOnlyError(doing)
}

/**
 * The error for what a cluster without nodes can't do.
 *
 * @param doing As it reads after "Could not"
 */
export function controlPlaneOnlyError(doing: string): MayflyError {
  return new MayflyError(
    'CONTROL_PLANE_ONLY',
    `Could not ${doing}: this cluster is a control plane only, in which no pod ever runs`,
    { hint: 'Create the cluster without `controlPlaneOnly`' },
  )
}
