import { type Engine, readFile } from '../engine/index.ts'
import { applyAll, type Kube, kubeStatus, parseManifests } from '../kube/index.ts'
import { apiServerPort, controlPlaneHost } from './endpoints.ts'
import type { ClusterPlan, PlannedNode } from './plan.ts'

/** Installs what every cluster has beyond kubeadm's: the network daemon and the default storage class. */
export async function installAddons(
  engine: Engine,
  plan: ClusterPlan,
  node: PlannedNode,
  kube: Kube,
): Promise<void> {
  const container = node.spec.name
  const manifests = ['/kind/manifests/default-storage.yaml']
  if (!plan.spec.networking.disableDefaultCNI) manifests.push('/kind/manifests/default-cni.yaml')
  const texts = await Promise.all(
    manifests.map(async (path) => String(await readFile(engine, container, path))),
  )
  const objects = texts.flatMap((manifest, at) =>
    parseManifests(
      manifest.replaceAll('{{ .PodSubnet }}', plan.spec.networking.podSubnets.join(',')),
      manifests[at] ?? '',
    ),
  )
  for (const object of objects) {
    if (object.kind === 'DaemonSet') pointAtControlPlane(object as unknown as WorkloadObject)
  }
  await applyAll(kube, objects, { timeoutMs: 60_000 })
  await quickenProbes(kube)
}

interface WorkloadObject {
  spec: { template: { spec: { containers: { env?: { name: string; value: string }[] }[] } } }
}

/** The network daemon must not wait for kube-proxy, which waits for nobody else. */
function pointAtControlPlane(daemonSet: WorkloadObject): void {
  for (const container of daemonSet.spec.template.spec.containers) {
    const endpoint = { name: 'CONTROL_PLANE_ENDPOINT', value: `${controlPlaneHost}:${apiServerPort}` }
    container.env = [...(container.env ?? []), endpoint]
  }
}

/** CoreDNS, if there is one, is asked every second from the start on: ten are an age for a cluster that lives for a minute. */
async function quickenProbes(kube: Kube): Promise<void> {
  const path = '/apis/apps/v1/namespaces/kube-system/deployments/coredns'
  const readinessProbe = { initialDelaySeconds: 0, periodSeconds: 1 }
  const patched = kube.request('PATCH', path, {
    headers: { 'content-type': 'application/strategic-merge-patch+json' },
    body: { spec: { template: { spec: { containers: [{ name: 'coredns', readinessProbe }] } } } },
    doing: 'quicken the probes of CoreDNS',
  })
  await patched.catch((thrown: unknown) => {
    if (kubeStatus(thrown)?.code !== 404) throw thrown
  })
}
