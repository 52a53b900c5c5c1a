import type { ClusterSpec } from '../config/index.ts'
import { assertHostFit, type Engine, type Privilege, preflight } from '../engine/index.ts'
import { MayflyError } from '../errors.ts'
import { label } from '../reaper/index.ts'
import type { BootOptions } from './boot-options.ts'

/** @see https://github.com/kubernetes-sigs/kind/blob/main/pkg/cluster/internal/providers/common/constants.go */
const kindRoleLabel = 'io.x-k8s.kind.role'

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
    {
      nodes: spec.nodes.map(({ role }) => role),
      image,
      ipvs: spec.networking.kubeProxyMode === 'ipvs',
      roleLabels: [label.role, kindRoleLabel],
    },
    { signal, labels },
  )
  assertHostFit(engine, findings)
  for (const { severity, sentence } of findings) if (severity === 'warning') progress.note(sentence)
  return privilege
}

/**
 * Refuses an address for the API server at which this process could not reach it: an engine of another machine publishes
 * ports there.
 *
 * @throws MayflyError `CONFIG_INVALID`
 */
export function assertReachable(
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
