import { createContainer, putFiles, startContainer } from '../engine/index.ts'
import type { ClusterAuthorities } from '../pki/index.ts'
import { type NodeSurroundings, nodeContainer } from './containers.ts'
import { controlPlaneContainer } from './control-plane-only.ts'
import { startLoadBalancer, startOnFreePort } from './entry.ts'
import { nodeSettingsFiles } from './node-settings.ts'
import { type ClusterPlan, controlPlanes, type PlannedNode } from './plan.ts'
import { type BaseSnapshot, filesForNodes } from './restore.ts'

/** Makes every node's container, puts all of its files into it, and starts it: all nodes at the same moment. */
export async function startNodes(
  plan: ClusterPlan,
  snapshot: BaseSnapshot,
  authorities: ClusterAuthorities,
  surroundings: NodeSurroundings,
): Promise<void> {
  const { engine } = surroundings
  const files = filesForNodes(plan, snapshot, authorities)
  // Handled below, by whichever node awaits it first; until then a failure must not end the process.
  files.catch(() => undefined)
  const make = async (node: PlannedNode, more: Partial<NodeSurroundings> = {}): Promise<string> => {
    const { controlPlaneOnly } = plan.spec
    const containerOf = controlPlaneOnly ? controlPlaneContainer : nodeContainer
    const container = containerOf(plan, node, { ...surroundings, ...more })
    await createContainer(engine, container)
    const settings = controlPlaneOnly
      ? []
      : await nodeSettingsFiles(engine, container.name, plan, node, snapshot)
    await putFiles(engine, container.name, [...((await files).get(container.name) ?? []), ...settings])
    return container.name
  }
  const entry = plan.loadBalancer ? undefined : controlPlanes(plan.nodes)[0]
  // All have ended before the first failure is told: what they make must not appear after the roll-back.
  const outcomes = await Promise.allSettled([
    startLoadBalancer(plan, surroundings),
    ...plan.nodes.map(async (node) => {
      if (node === entry) {
        await startOnFreePort(engine, plan, (apiServerHostPort) => make(node, { apiServerHostPort }))
      } else await startContainer(engine, await make(node))
    }),
  ])
  const failure = outcomes.find((outcome) => outcome.status === 'rejected')
  if (failure) throw failure.reason
}
