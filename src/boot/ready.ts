import { type Engine, type ExecResult, exec } from '../engine/index.ts'
import { amended, MayflyError, messageOf } from '../errors.ts'
import { conditionOf, describeFailure, type Kube, type KubeObject, watchList } from '../kube/index.ts'
import { deadline, until, type WaitLimits, waitError } from '../wait.ts'
import { certificateSettings } from './cluster-configuration.ts'
import { type ClusterPlan, controlPlanes } from './plan.ts'

/** Waits until the API server says that it is ready. */
export async function waitForApiServer(kube: Kube, limits: WaitLimits): Promise<void> {
  const ready = async (signal: AbortSignal) =>
    (await kube.request('GET', '/readyz', { signal })) === 'ok' || undefined
  await until('the API server', ready, { ...limits, intervalMs: 50 })
}

/**
 * Waits until a cluster without nodes is usable: its API server ready, and in each namespace what controllers put there
 * first, which shows that they run.
 *
 * @throws MayflyError `WAIT_TIMED_OUT` with what is missing
 */
export async function waitForControllers(kube: Kube, limits: WaitLimits): Promise<void> {
  await waitForApiServer(kube, limits)
  const names = async (path: string, query: Record<string, string> = {}) => {
    const { items } = await kube.request<{ items: KubeObject[] }>('GET', path, {
      query,
      signal: limits.signal,
    })
    return new Set(items.map(({ metadata }) => metadata.namespace ?? metadata.name))
  }
  await until(
    'the controller manager',
    async (_, report) => {
      const [namespaces, authorities, accounts] = await Promise.all([
        names('/api/v1/namespaces'),
        names('/api/v1/configmaps', { fieldSelector: 'metadata.name=kube-root-ca.crt' }),
        names('/api/v1/serviceaccounts', { fieldSelector: 'metadata.name=default' }),
      ])
      const missing = [...namespaces].flatMap((name) => [
        ...(authorities.has(name) ? [] : [`ConfigMap ${name}/kube-root-ca.crt`]),
        ...(accounts.has(name) ? [] : [`ServiceAccount ${name}/default`]),
      ])
      report(`no ${missing.join(', ')}`)
      return missing.length === 0 || undefined
    },
    { ...limits, intervalMs: 50 },
  )
}

type Workload = KubeObject & {
  spec: { replicas?: number; selector: { matchLabels?: Record<string, string> } }
}
type Pod = KubeObject & { spec: { nodeName?: string } }

/**
 * Waits until every node is Ready and every pod that the cluster brings is, judged by the pods themselves: a
 * workload's own status may still be the one that the snapshot was saved with.
 *
 * @param only Picks those objects of a collection that count; default: all
 * @returns The pods of all namespaces, as they were last seen
 * @throws MayflyError `WAIT_TIMED_OUT` with what is not ready and why
 */
export async function waitForPodsAndNodes(
  kube: Kube,
  plan: ClusterPlan,
  limits: WaitLimits,
  only: (path: string, objects: KubeObject[]) => KubeObject[] = (_, objects) => objects,
): Promise<KubeObject[]> {
  const stop = new AbortController()
  const signal = AbortSignal.any([deadline(limits), stop.signal])
  let missing: string[] = ['anything']
  const seen = new Map<string, ReadonlyMap<string, KubeObject>>()
  const paths = ['/api/v1/nodes', '/api/v1/pods', '/apis/apps/v1/daemonsets', '/apis/apps/v1/deployments']
  const follow = async (path: string) => {
    for await (const { items } of watchList(kube, { path }, { signal })) {
      seen.set(path, items)
      if (seen.size < paths.length) continue
      missing = notReady(plan, (of) => only(of, [...(seen.get(of)?.values() ?? [])]))
      if (missing.length === 0) return stop.abort()
    }
  }
  // The first refusal for good ends all of them.
  await Promise.all(paths.map(follow)).finally(() => stop.abort())
  if (missing.length === 0) return [...(seen.get('/api/v1/pods')?.values() ?? [])]
  const because = plan.spec.networking.disableDefaultCNI ? undefined : await explain(kube)
  const error = waitError('the cluster to be ready', missing.join('; '), limits)
  throw because === undefined ? error : amended(error, { output: because })
}

async function explain(kube: Kube): Promise<string | undefined> {
  try {
    const reports = await Promise.all(
      ['kube-system', 'local-path-storage'].map((name) => describeFailure(kube, name)),
    )
    return reports.map(({ text }) => text).join('\n')
  } catch (thrown) {
    return `(no explanation: ${messageOf(thrown)})`
  }
}

/** What a usable cluster has and this one has not, as it reads after "last seen: ". Pure. */
export function notReady(plan: ClusterPlan, objects: (path: string) => KubeObject[]): string[] {
  const nodes = new Map(objects('/api/v1/nodes').map((node) => [node.metadata.name, node]))
  const pods = objects('/api/v1/pods') as Pod[]
  // Without a network that mayfly knows, nodes stay NotReady until the user has installed one.
  const ownNetwork = plan.spec.networking.disableDefaultCNI
  const complaints = plan.nodes.flatMap(({ spec }) => {
    const node = nodes.get(spec.name)
    if (!node) return [`node ${spec.name} has not registered`]
    return ownNetwork || isReady(node) ? [] : [`node ${spec.name} is not Ready (${readyMessage(node)})`]
  })
  for (const { spec } of controlPlanes(plan.nodes)) {
    for (const component of ['etcd', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler']) {
      const name = `${component}-${spec.name}`
      const pod = pods.find(({ metadata }) => metadata.name === name && metadata.namespace === 'kube-system')
      if (!pod || !isReady(pod)) complaints.push(`pod ${name} is ${pod ? 'not Ready' : 'missing'}`)
    }
  }
  for (const daemonSet of objects('/apis/apps/v1/daemonsets') as Workload[]) {
    for (const { spec } of plan.nodes) {
      const ready = pods.some(
        (pod) => pod.spec.nodeName === spec.name && belongs(pod, daemonSet) && isReady(pod),
      )
      if (!ready) complaints.push(`${daemonSet.metadata.name} is not Ready on ${spec.name}`)
    }
  }
  for (const deployment of ownNetwork ? [] : (objects('/apis/apps/v1/deployments') as Workload[])) {
    const wanted = deployment.spec.replicas ?? 1
    const ready = pods.filter((pod) => belongs(pod, deployment) && isReady(pod)).length
    if (ready < wanted) complaints.push(`${deployment.metadata.name} has ${ready} of ${wanted} pods Ready`)
  }
  return complaints
}

function isReady(object: KubeObject): boolean {
  return conditionOf(object, 'Ready')?.status === 'True'
}

function readyMessage(node: KubeObject): string {
  return conditionOf(node, 'Ready')?.message ?? 'its kubelet has not reported yet'
}

function belongs(pod: Pod, workload: Workload): boolean {
  const labels = Object.entries(workload.spec.selector.matchLabels ?? {})
  return (
    pod.metadata.namespace === workload.metadata.namespace &&
    pod.metadata.deletionTimestamp === undefined &&
    labels.every(([name, value]) => pod.metadata.labels?.[name] === value)
  )
}

/**
 * Where a cluster's DNS answers: at its Service, or at one of its pods where there is no kube-proxy that leads from the one
 * to the other; `undefined` where the configuration left DNS out. Pure.
 */
export function dnsServer(
  { spec, dnsAddress }: Pick<ClusterPlan, 'spec' | 'dnsAddress'>,
  pods: readonly KubeObject[],
): string | undefined {
  // Pods get no addresses before the user has installed a network.
  if (spec.networking.disableDefaultCNI) return undefined
  // The labels are kubeadm's.
  const podOf = (app: string) =>
    pods.find(
      ({ metadata }) =>
        metadata.namespace === 'kube-system' &&
        metadata.labels?.['k8s-app'] === app &&
        metadata.deletionTimestamp === undefined,
    )
  const dns = podOf('kube-dns')
  return dns && podOf('kube-proxy') ? dnsAddress : (dns?.['status']?.podIP as string | undefined)
}

const cutOffHint = [
  "The engine's host drops what pods of different nodes send to each other. Where Docker and Podman run side by side,",
  "Docker's policy does that to Podman's networks: allow it with `iptables -I FORWARD -i podman+ -o podman+ -j ACCEPT`,",
  'or keep bridges out of it with `sysctl -w net.bridge.bridge-nf-call-iptables=0`',
].join(' ')

/** Waits until the cluster's DNS answers the pods of every node, at {@link dnsServer}; not at all where it has none. */
export async function waitForDns(
  engine: Engine,
  plan: ClusterPlan,
  pods: readonly KubeObject[],
  limits: WaitLimits,
): Promise<void> {
  const server = dnsServer(plan, pods)
  if (server === undefined) return
  const { timeoutMs, signal } = limits
  const name = `kubernetes.default.svc.${certificateSettings(plan).dnsDomain}.`
  const timeout = `${Math.ceil(timeoutMs / 1000)}s`
  const ask = (container: string): Promise<ExecResult> =>
    exec(
      engine,
      container,
      ['mayfly-node', 'dns-wait', '-server', server, '-name', name, '-timeout', timeout],
      { signal, timeoutMs: timeoutMs + 5000 },
    )
  const answers = await Promise.all(
    plan.nodes.map(async ({ spec }) => ({ name: spec.name, ...(await ask(spec.name)) })),
  )
  const silent = answers.find(({ exitCode }) => exitCode !== 0)
  if (silent) {
    const output = silent.stderr || silent.stdout
    throw new MayflyError('WAIT_TIMED_OUT', `The cluster's DNS does not answer on node ${silent.name}`, {
      output,
      ...(output.includes('pods are cut off') && { hint: cutOffHint }),
    })
  }
}
