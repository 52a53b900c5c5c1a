import { type Engine, inspectContainer, publishedPort, readFile } from '../engine/index.ts'
import { connectKube, type Kube } from '../kube/index.ts'
import { adminKubeconfig, type ClusterAuthorities } from '../pki/index.ts'
import { apiServerPort, publishedAddress } from './endpoints.ts'
import { loadBalancerName } from './entry.ts'
import { type ClusterPlan, controlPlanes } from './plan.ts'

/** Connects to a cluster of these authorities through the port of the host that leads to its API server. */
export async function connectAsAdmin(
  engine: Engine,
  plan: ClusterPlan,
  authorities: ClusterAuthorities,
): Promise<{ kube: Kube; kubeconfig: string }> {
  const [first] = controlPlanes(plan.nodes)
  const entry = plan.loadBalancer ? loadBalancerName(plan) : (first?.spec.name ?? '')
  const port = publishedPort(await inspectContainer(engine, entry), apiServerPort)
  const server = `https://${addressOf(plan)}:${port}`
  const kubeconfig = await adminKubeconfig(authorities, { name: plan.spec.name, server })
  const { controlPlaneOnly } = plan.spec
  return { kubeconfig, kube: connectKube(kubeconfig, { controlPlaneOnly }) }
}

/** Connects to a cluster that kubeadm made on a node, with the credentials that it left there. */
export async function connectThroughNode(
  engine: Engine,
  plan: ClusterPlan,
  container: string,
): Promise<Kube> {
  const admin = String(await readFile(engine, container, '/etc/kubernetes/super-admin.conf'))
  const port = publishedPort(await inspectContainer(engine, container), apiServerPort)
  return connectKube(admin.replace(/server: .*/, `server: https://${addressOf(plan)}:${port}`))
}

function addressOf({ spec, engineHost }: ClusterPlan): string {
  return publishedAddress(spec.networking.apiServerAddress, engineHost)
}
