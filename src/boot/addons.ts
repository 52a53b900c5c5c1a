import { type Engine, readFile } from '../engine/index.ts'
import { applyAll, type Kube, kubeStatus, parseManifests } from '../kube/index.ts'
import { apiServerPort, controlPlaneHost } from './endpoints.ts'
import type { ClusterPlan, PlannedNode } from './plan.ts'
import { trimVariable } from './static-pods.ts'

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
    if (object.kind === 'DaemonSet') fitNetworkDaemon(object as unknown as WorkloadObject)
  }
  await applyAll(kube, objects, { timeoutMs: 60_000 })
  await fitKubeadmAddons(kube)
}

interface WorkloadObject {
  spec: { template: { spec: { containers: { env?: { name: string; value: string }[] }[] } } }
}

/** The network daemon must not wait for kube-proxy, which waits for nobody else. */
function fitNetworkDaemon(daemonSet: WorkloadObject): void {
  for (const container of daemonSet.spec.template.spec.containers) {
    const endpoint = { name: 'CONTROL_PLANE_ENDPOINT', value: `${controlPlaneHost}:${apiServerPort}` }
    container.env = [...(container.env ?? []), endpoint, trimVariable]
  }
}

/**
 * Fits kubeadm's own to a cluster that lives for a minute: they give memory back, and CoreDNS, which may be absent as
 * kube-proxy may, is asked every second from the start on, for ten are an age.
 */
async function fitKubeadmAddons(kube: Kube): Promise<void> {
  const readinessProbe = { initialDelaySeconds: 0, periodSeconds: 1 }
  await Promise.all([
    patchContainer(kube, 'deployments', 'coredns', { env: [trimVariable], readinessProbe }),
    patchContainer(kube, 'daemonsets', 'kube-proxy', { env: [trimVariable] }),
  ])
}

/** Changes the one container of a workload that has the container's name, where there is such a workload. */
async function patchContainer(kube: Kube, resource: string, name: string, container: object): Promise<void> {
  const patched = kube.request('PATCH', `/apis/apps/v1/namespaces/kube-system/${resource}/${name}`, {
    headers: { 'content-type': 'application/strategic-merge-patch+json' },
    body: { spec: { template: { spec: { containers: [{ name, ...container }] } } } },
    doing: `fit ${name} to a test cluster`,
  })
  await patched.catch((thrown: unknown) => {
    if (kubeStatus(thrown)?.code !== 404) throw thrown
  })
}
