import type { ClusterSpec } from '../config/index.ts'
import { assertHostFit, type Engine, type Privilege, preflight } from '../engine/index.ts'
import { MayflyError } from '../errors.ts'
import type { BootOptions } from './boot-options.ts'

/**
 * Refuses a host that can't carry the cluster, and notes what may go wrong on it.
 *
 * @returns The rights that nodes can have
 * @throws MayflyError `HOST_UNFIT` with everything that is missing, `CONFIG_INVALID` when its API server could not be reached
 */
export async function checkHost(
  spec: ClusterSpec,
  { engine, progress, signal, labels }: BootOptions,
): Promise<Privilege> {
  assertReachable(spec, engine)
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

/** An engine of another machine publishes ports there. */
function assertReachable(
  { networking: { apiServerAddress } }: ClusterSpec,
  { remoteHost, describe }: Pick<Engine, 'remoteHost' | 'describe'>,
): void {
  if (remoteHost === undefined || !/^(127\.|::1$)/.test(apiServerAddress)) return
  throw new MayflyError(
    'CONFIG_INVALID',
    `${describe()} is another machine, and would publish the API server on ${apiServerAddress}, where only it can reach it`,
    { hint: "Set `networking: { apiServerAddress: '0.0.0.0' }`, in a network that you trust" },
  )
}
