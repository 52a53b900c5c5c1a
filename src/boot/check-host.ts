import type { ClusterSpec } from '../config/index.ts'
import { assertHostFit, type Privilege, preflight } from '../engine/index.ts'
import type { BootOptions } from './boot-options.ts'

/**
 * Refuses a host that can't carry the cluster, and notes what may go wrong on it.
 *
 * @returns The rights that nodes can have
 * @throws MayflyError `HOST_UNFIT` with everything that is missing
 */
export async function checkHost(
  spec: ClusterSpec,
  { engine, progress, signal, labels }: BootOptions,
): Promise<Privilege> {
  const [{ image = '' } = {}] = spec.nodes
  const { findings, privilege } = await preflight(
    engine,
    { nodes: spec.nodes.map(({ role }) => role), image },
    { signal, labels },
  )
  assertHostFit(engine, findings)
  for (const { severity, sentence } of findings) if (severity === 'warning') progress.note(sentence)
  return privilege
}
