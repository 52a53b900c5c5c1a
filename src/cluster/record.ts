import { parse } from 'yaml'
import {
  type BaseSnapshot,
  type ClusterPlan,
  controlPlaneNames,
  loadBalancerName,
  publishedAddress,
} from '../boot/index.ts'
import { type Engine, inspectContainer, listContainers, putFiles, readFile } from '../engine/index.ts'
import { MayflyError } from '../errors.ts'
import { type ClusterAuthorities, kubeconfig, readAuthorities } from '../pki/index.ts'
import { label } from '../reaper/index.ts'

/** What a cluster remembers of itself, for other processes; it is on every control-plane node. */
export interface ClusterRecord {
  /** Version of the layout: 1. */
  version: 1
  plan: ClusterPlan
  snapshot: BaseSnapshot
}

/** Written last of all: a cluster that has it has been usable. */
const recordFile = '/mayfly/cluster.json'

/** Writes the record to the control-plane nodes. */
export async function writeRecord(engine: Engine, record: Omit<ClusterRecord, 'version'>): Promise<void> {
  const content = JSON.stringify({ version: 1, ...record } satisfies ClusterRecord)
  await Promise.all(
    controlPlaneNames(record.plan).map((name) =>
      putFiles(engine, name, [{ path: recordFile, content, mode: 0o600 }]),
    ),
  )
}

/** Reads the record of a cluster from one of these control-plane nodes; `undefined` when none has it (yet). */
export async function readRecord(
  engine: Engine,
  controlPlanes: readonly string[],
): Promise<ClusterRecord | undefined> {
  for (const name of controlPlanes) {
    const content = await readFile(engine, name, recordFile)
    if (content) return JSON.parse(String(content)) as ClusterRecord
  }
  return undefined
}

/** The kubeconfig for the host, from what a control-plane node has and the port that its engine publishes. */
export async function readKubeconfig(engine: Engine, plan: ClusterPlan): Promise<string> {
  const [first = ''] = controlPlaneNames(plan)
  const entry = plan.loadBalancer ? loadBalancerName(plan) : first
  const [admin, { HostConfig }] = await Promise.all([
    readPem(engine, first, '/etc/kubernetes/super-admin.conf'),
    inspectContainer(engine, entry),
  ])
  // From the wish, not from what is published now: a stopped cluster publishes nothing.
  const bindings = HostConfig.PortBindings as Record<string, { HostPort: string; HostIp: string }[]>
  const [{ HostPort, HostIp }] = bindings['6443/tcp'] as [{ HostPort: string; HostIp: string }]
  const { clusters, users } = parse(admin) as AdminConf
  const title = `mayfly-${plan.spec.name}`
  return kubeconfig({
    name: title,
    user: title,
    context: title,
    server: `https://${publishedAddress(HostIp, engine.remoteHost)}:${HostPort}`,
    caPem: fromBase64(clusters[0].cluster['certificate-authority-data']),
    client: {
      certificate: fromBase64(users[0].user['client-certificate-data']),
      privateKey: fromBase64(users[0].user['client-key-data']),
    },
  })
}

interface AdminConf {
  clusters: [{ cluster: { 'certificate-authority-data': string } }]
  users: [{ user: { 'client-certificate-data': string; 'client-key-data': string } }]
}

/** The keys that sign for a cluster, from its control plane. */
export async function readClusterAuthorities(engine: Engine, plan: ClusterPlan): Promise<ClusterAuthorities> {
  const [node = ''] = controlPlaneNames(plan)
  const pair = async (name: string) => {
    const [certificate, privateKey] = await Promise.all([
      readPem(engine, node, `/etc/kubernetes/pki/${name}.crt`),
      readPem(engine, node, `/etc/kubernetes/pki/${name}.key`),
    ])
    return { certificate, privateKey }
  }
  const [ca, etcdCa, frontProxyCa, serviceAccountKey] = await Promise.all([
    pair('ca'),
    pair('etcd/ca'),
    pair('front-proxy-ca'),
    readPem(engine, node, '/etc/kubernetes/pki/sa.key'),
  ])
  return readAuthorities({ ca, etcdCa, frontProxyCa, serviceAccountKey })
}

/** The labels that all of a cluster's belongings have, from one of them. */
export async function readOwnLabels(engine: Engine, clusterName: string): Promise<Record<string, string>> {
  const [container] = await listContainers(engine, { [label.cluster]: clusterName })
  const own: string[] = Object.values(label).filter((name) => name !== label.role)
  return Object.fromEntries(Object.entries(container?.labels ?? {}).filter(([name]) => own.includes(name)))
}

async function readPem(engine: Engine, node: string, path: string): Promise<string> {
  const content = await readFile(engine, node, path)
  if (!content) throw new MayflyError('CLUSTER_UNFIT', `Node ${node} has no ${path}`)
  return String(content)
}

function fromBase64(text: string): string {
  return Buffer.from(text, 'base64').toString('utf8')
}
