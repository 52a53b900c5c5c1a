import { execOrThrow, probePrivilege } from '../engine/index.ts'
import { apiServerEndpoint, controlPlaneHost } from './endpoints.ts'
import { startLoadBalancer } from './entry.ts'
import type { JoinOptions } from './join.ts'
import { networkName } from './network.ts'
import { type ClusterPlan, controlPlanes, loadBalancerAddresses } from './plan.ts'
import { electionValues } from './restore.ts'

/**
 * Makes a cluster of one control plane one that may have several: its components hold elections from now on, with etcd's
 * usual patience, and a load balancer stands before it, which workers are told to use. The first control plane keeps
 * its own port of the host; the load balancer gets another one. Its API fails for a second while etcd starts anew.
 *
 * @returns The plan with the load balancer in it
 */
export async function placeBehindLoadBalancer(
  plan: ClusterPlan,
  options: Pick<JoinOptions, 'engine' | 'labels' | 'timeoutMs' | 'signal'>,
): Promise<ClusterPlan> {
  const { engine, labels, timeoutMs, signal } = options
  const [first] = controlPlanes(plan.nodes)
  if (!first) throw new Error('a plan without a control plane')
  const limits = { timeoutMs, signal }
  const { leaderElection, etcdHeartbeat, etcdElection } = electionValues(true)
  const flags = {
    etcd: { 'heartbeat-interval': etcdHeartbeat, 'election-timeout': etcdElection },
    'kube-controller-manager': { 'leader-elect': leaderElection },
    'kube-scheduler': { 'leader-elect': leaderElection },
  }
  const setFlags = ['mayfly-node', 'static-pods-set']
  await execOrThrow(engine, first.spec.name, setFlags, { stdin: JSON.stringify(flags), ...limits })

  const loadBalancer = loadBalancerAddresses(plan)
  const balanced = { ...plan, loadBalancer }
  const privilege = await probePrivilege(engine, first.spec.image, { signal, labels })
  await startLoadBalancer(onAnyPort(balanced), { engine, labels, privilege, network: networkName(plan.spec) })
  const move = [
    'mayfly-node', 'control-plane-at',
    '-host', controlPlaneHost, '-address', loadBalancer[0] ?? '', '-endpoint', apiServerEndpoint(loadBalancer),
  ] // biome-ignore format: a command line
  const workers = plan.nodes.filter(({ spec }) => spec.role === 'worker')
  await Promise.all(workers.map(({ spec }) => execOrThrow(engine, spec.name, move, limits)))
  return balanced
}

/** A port that was asked for is the first control plane's, and stays so. */
function onAnyPort(plan: ClusterPlan): ClusterPlan {
  const networking = { ...plan.spec.networking, apiServerPort: 0 }
  return { ...plan, spec: { ...plan.spec, networking } }
}
