import { type Engine, removeContainer } from '../engine/index.ts'
import { MayflyError } from '../errors.ts'
import { type Kube, kubeStatus, list } from '../kube/index.ts'
import type { WaitLimits } from '../wait.ts'
import { setBackends } from './entry.ts'
import { removeEtcdMember } from './etcd-members.ts'
import { planWithoutNode } from './join.ts'
import { type ClusterPlan, controlPlanes } from './plan.ts'
import { waitForApiServer } from './ready.ts'

/**
 * Takes a node away, as a machine that is switched off for good: its container, its Node object and its pods, which
 * their controllers make anew elsewhere. A control plane leaves etcd and the load balancer first.
 *
 * @returns The plan without it
 * @throws MayflyError `CONFIG_INVALID` for the last control plane, `EXEC_FAILED` when etcd does not let a member go
 */
export async function removeNode(
  plan: ClusterPlan,
  name: string,
  { engine, kube, ...limits }: WaitLimits & { engine: Engine; kube: Kube },
): Promise<ClusterPlan> {
  const { signal } = limits
  const node = plan.nodes.find(({ spec }) => spec.name === name)
  const rest = planWithoutNode(plan, name)
  if (node?.spec.role === 'control-plane') {
    if (controlPlanes(rest.nodes).length === 0) {
      throw new MayflyError('CONFIG_INVALID', `Node "${name}" is the only control plane of the cluster`, {
        hint: 'Add another one first, or delete the cluster',
      })
    }
    await setBackends(engine, rest)
    await removeEtcdMember(engine, plan, node, limits)
  }
  await removeContainer(engine, name, { signal })
  // Connections through the load balancer have ended with the node.
  await waitForApiServer(kube, limits)
  await forget(kube, `/api/v1/nodes/${name}`, signal)
  const ofNode = { fieldSelector: `spec.nodeName=${name}`, signal }
  const pods = await list(kube, { apiVersion: 'v1', kind: 'Pod' }, ofNode)
  await Promise.all(
    pods.map(({ metadata }) =>
      forget(kube, `/api/v1/namespaces/${metadata.namespace}/pods/${metadata.name}`, signal),
    ),
  )
  return rest
}

/** Deletes an object at once; nothing happens when it is gone. */
async function forget(kube: Kube, path: string, signal: AbortSignal | undefined): Promise<void> {
  try {
    await kube.request('DELETE', path, { query: { gracePeriodSeconds: 0 }, signal })
  } catch (thrown) {
    if (kubeStatus(thrown)?.code !== 404) throw thrown
  }
}
