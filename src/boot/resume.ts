import { type Engine, inspectContainer } from '../engine/index.ts'
import { conditionOf, type Kube, type KubeObject } from '../kube/index.ts'
import type { WaitLimits } from '../wait.ts'
import type { ClusterPlan } from './plan.ts'
import { waitForApiServer, waitForControllers, waitForDns, waitForPodsAndNodes } from './ready.ts'

/** Which nodes {@link waitUntilUsable} is about. */
export interface UsableScope {
  /** Names of the nodes that must be usable; default: all, and with them the cluster's Deployments. */
  only?: readonly string[]
}

/**
 * Waits until a cluster whose nodes were started again, or some of its nodes, are usable. What nodes and pods said of
 * themselves before their node was last started does not count.
 *
 * @throws MayflyError `WAIT_TIMED_OUT` with what is not ready and why
 */
export async function waitUntilUsable(
  engine: Engine,
  plan: ClusterPlan,
  kube: Kube,
  limits: WaitLimits,
  { only }: UsableScope = {},
): Promise<void> {
  if (plan.spec.controlPlaneOnly) return waitForControllers(kube, limits)
  const nodes = plan.nodes.filter(({ spec }) => !only || only.includes(spec.name))
  const scope = { ...plan, nodes }
  const startedAt = new Map(
    await Promise.all(
      nodes.map(async ({ spec }): Promise<[string, string]> => {
        const { State } = await inspectContainer(engine, spec.name, limits)
        // Objects have whole seconds.
        return [spec.name, `${State.StartedAt.slice(0, 19)}Z`]
      }),
    ),
  )
  await waitForApiServer(kube, limits)
  const pods = await waitForPodsAndNodes(kube, scope, limits, (path, objects) => {
    if (only && path.endsWith('/deployments')) return []
    return objects.filter((object) => isNews(path, object, startedAt))
  })
  await waitForDns(engine, scope, pods, limits)
}

/** Whether an object tells of the present run of its node. Times are the nodes' own, which is the engine's. Pure. */
export function isNews(path: string, object: KubeObject, startedAt: ReadonlyMap<string, string>): boolean {
  if (path.endsWith('/nodes')) {
    const since = startedAt.get(object.metadata.name ?? '')
    const told = conditionOf(object, 'Ready') as { lastHeartbeatTime?: string } | undefined
    return since === undefined || (told?.lastHeartbeatTime ?? '') >= since
  }
  if (path.endsWith('/pods')) {
    const since = startedAt.get(object['spec'].nodeName ?? '')
    const containers: { state?: { running?: { startedAt?: string } } }[] =
      object['status']?.containerStatuses ?? []
    return (
      since === undefined ||
      (containers.length > 0 && containers.every(({ state }) => (state?.running?.startedAt ?? '') >= since))
    )
  }
  return true
}
