import { type Engine, execOrThrow, listContainers } from '../engine/index.ts'
import { MayflyError } from '../errors.ts'
import { label } from '../reaper/index.ts'
import type { WaitLimits } from '../wait.ts'
import { type ClusterPlan, controlPlaneNames, type PlannedNode } from './plan.ts'
import { peerUrl } from './restore.ts'

/**
 * Makes a node a member of etcd that learns and does not vote yet, so that the others go on without it.
 *
 * @returns All members, in etcd's own notation
 */
export async function addEtcdMember(
  engine: Engine,
  plan: ClusterPlan,
  node: PlannedNode,
  limits: WaitLimits,
): Promise<string> {
  const answer = await changeMember(engine, plan, node, ['add'], limits)
  return (JSON.parse(answer) as { initialCluster: string }).initialCluster
}

/** Waits until a new member has what the others have, and gives it a vote. */
export async function promoteEtcdMember(
  engine: Engine,
  plan: ClusterPlan,
  node: PlannedNode,
  limits: WaitLimits,
): Promise<void> {
  await changeMember(engine, plan, node, ['promote'], limits)
}

/** Takes a node out of etcd, and its API server out of what the others hold for API servers; both may be dead. */
export async function removeEtcdMember(
  engine: Engine,
  plan: ClusterPlan,
  node: PlannedNode,
  limits: WaitLimits,
): Promise<void> {
  await changeMember(engine, plan, node, ['remove', '-address', node.addresses[0] ?? ''], limits)
}

/** Runs `mayfly-node etcd-member` on a control plane that is not the one that it is about. */
async function changeMember(
  engine: Engine,
  plan: ClusterPlan,
  { spec, addresses }: PlannedNode,
  [verb = '', ...more]: readonly string[],
  { timeoutMs, signal }: WaitLimits,
): Promise<string> {
  const running = await listContainers(
    engine,
    { [label.cluster]: plan.spec.name, [label.role]: 'control-plane' },
    { signal },
  )
  const planned = controlPlaneNames(plan)
  const on = running.find(
    ({ name, state }) => state === 'running' && name !== spec.name && planned.includes(name),
  )
  if (!on) {
    throw new MayflyError(
      'CLUSTER_UNFIT',
      `No control plane of cluster ${plan.spec.name} runs besides ${spec.name}`,
      { hint: 'Start one of the others first' },
    )
  }
  const member = ['-name', spec.name, '-peer-url', peerUrl(addresses), '-within', `${timeoutMs}ms`]
  const argv = ['mayfly-node', 'etcd-member', verb, ...member, ...more]
  try {
    // The command says better than this wait what it waited for.
    return await execOrThrow(engine, on.name, argv, { signal, timeoutMs: timeoutMs + 5000 })
  } catch (thrown) {
    throw new MayflyError('EXEC_FAILED', `Could not ${verb} ${spec.name} as a member of etcd on ${on.name}`, {
      hint: 'See to it that most control planes run: etcd changes its members only with a majority of them',
      output: thrown instanceof MayflyError ? (thrown.output ?? thrown.message) : String(thrown),
      cause: thrown,
    })
  }
}
