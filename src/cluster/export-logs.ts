import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join, resolve, sep } from 'node:path'
import { text } from 'node:stream/consumers'
import { extract } from 'tar-stream'
import { stringify } from 'yaml'
import { loadBalancerRole } from '../boot/index.ts'
import {
  containerLogs,
  type Engine,
  exec,
  execStream,
  inspectContainer,
  type ListedContainer,
  listContainers,
} from '../engine/index.ts'
import { messageOf } from '../errors.ts'
import { discoverKinds, events, type Kube, type KubeObject, list, type ResourceKind } from '../kube/index.ts'
import { label } from '../reaper/index.ts'

/** What a command in a node prints, and the file that it goes to: kind's names for what kind collects. */
const commands: Record<string, readonly string[]> = {
  'journal.log': ['journalctl', '--no-pager', '--output=short-precise'],
  'kubelet.log': ['journalctl', '--no-pager', '--output=short-precise', '-u', 'kubelet.service'],
  'containerd.log': ['journalctl', '--no-pager', '--output=short-precise', '-u', 'containerd.service'],
  'images.log': ['crictl', 'images'],
  'containers.log': ['crictl', 'ps', '--all'],
  'kubernetes-version.txt': ['cat', '/kind/version'],
}

/** Containers that have something to tell. */
const roles = ['control-plane', 'worker', loadBalancerRole]

/** One node's commands and one API server's lists need not wait longer when a cluster is broken. */
const limitMs = 30_000

/** What to collect from. */
export interface LogSource {
  engine: Engine
  /** Absent when there is no way to the API server. */
  kube?: Kube | undefined
  /** Name of the cluster. */
  name: string
  signal?: AbortSignal | undefined
}

/**
 * Collects logs of nodes, pods and the load balancer, API objects and events below a folder. What can't be had, from a
 * node that is stopped or an API server that is down, is named in `missing.txt` and keeps nothing else from being had.
 */
export async function collectLogs(dir: string, { engine, kube, name, signal }: LogSource): Promise<void> {
  const missing: string[] = []
  const attempt = async (what: string, work: () => Promise<void>) => {
    try {
      await work()
    } catch (thrown) {
      signal?.throwIfAborted()
      missing.push(`${what}: ${messageOf(thrown)}`)
    }
  }
  const all = await listContainers(engine, { [label.cluster]: name }, { signal })
  const containers = all.filter(({ labels }) => roles.includes(labels[label.role] ?? ''))
  await put(dir, 'engine.txt', `${engine.describe()}\n`)
  await Promise.all([
    ...containers.map((container) => collectContainer(join(dir, container.name), engine, container, attempt)),
    attempt('API objects', async () => {
      if (!kube) throw new Error('the creation of the cluster has not ended')
      await collectObjects(join(dir, 'objects'), kube, attempt, signal)
      await collectEvents(dir, kube, signal)
    }),
  ])
  if (missing.length > 0) await put(dir, 'missing.txt', `${missing.join('\n')}\n`)
}

type Attempt = (what: string, work: () => Promise<void>) => Promise<void>

async function collectContainer(
  dir: string,
  engine: Engine,
  { name, state, labels }: ListedContainer,
  attempt: Attempt,
): Promise<void> {
  const isNode = labels[label.role] !== loadBalancerRole
  const inNode = isNode && state === 'running' ? Object.entries(commands) : []
  await Promise.all([
    attempt(`${name}/inspect.json`, async () => {
      await put(dir, 'inspect.json', JSON.stringify(await inspectContainer(engine, name), undefined, 2))
    }),
    attempt(`${name}/serial.log`, async () => {
      await put(dir, 'serial.log', await containerLogs(engine, name))
    }),
    ...inNode.map(([file, argv]) =>
      attempt(`${name}/${file}`, async () => {
        const { exitCode, stdout, stderr } = await exec(engine, name, argv, { timeoutMs: limitMs })
        await put(dir, file, stdout)
        if (exitCode !== 0) throw new Error(stderr.trim() || `exit code ${exitCode}`)
      }),
    ),
    inNode.length > 0 &&
      attempt(`${name}/pods`, () => copyFolder(engine, name, '/var/log/pods', join(dir, 'pods'))),
    isNode &&
      state !== 'running' &&
      attempt(`${name}/journal.log`, () => Promise.reject(new Error(`the node is ${state}`))),
  ])
}

/** Copies the regular files of a folder out of a node that runs. */
async function copyFolder(engine: Engine, container: string, from: string, to: string): Promise<void> {
  const { stdout, stderr, exited } = await execStream(
    engine,
    container,
    ['tar', '-C', from, '-cf', '-', '.'],
    {
      stdin: false,
      timeoutMs: limitMs,
    },
  )
  const complaint = text(stderr).catch(() => '')
  const archive = extract()
  stdout.on('error', (error) => archive.destroy(error))
  stdout.pipe(archive)
  for await (const entry of archive) {
    const file = resolve(to, entry.header.name)
    if (entry.header.type === 'file' && file.startsWith(resolve(to) + sep)) {
      await mkdir(dirname(file), { recursive: true })
      await writeFile(file, entry as AsyncIterable<Buffer>)
    } else entry.resume()
  }
  // A log that grows while it is read is no failure of tar's, which says 1 then.
  if ((await exited) > 1) throw new Error(await complaint)
}

async function collectObjects(
  dir: string,
  kube: Kube,
  attempt: Attempt,
  signal: AbortSignal | undefined,
): Promise<void> {
  const listable = (await discoverKinds(kube)).filter(
    ({ verbs, kind }) => verbs.includes('list') && kind !== 'Event',
  )
  // One version of each is enough, and the preferred one comes first.
  const kinds = new Map(listable.reverse().map((kind) => [fileOf(kind), kind])).values()
  await Promise.all(
    [...kinds].map((kind) =>
      attempt(`objects of kind ${kind.kind}`, () => collectKind(dir, kube, kind, signal)),
    ),
  )
}

async function collectKind(
  dir: string,
  kube: Kube,
  resource: ResourceKind,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { apiVersion, kind, namespaced } = resource
  const all = await list(kube, { apiVersion, kind }, { signal })
  const places = Map.groupBy(all, ({ metadata }) =>
    namespaced ? (metadata.namespace ?? '') : 'cluster-wide',
  )
  for (const [place, objects] of places) {
    const documents = objects.map((object) => stringify(withoutSecrets(object)))
    await put(join(dir, place), fileOf(resource), documents.join('---\n'))
  }
}

function fileOf({ apiVersion, plural }: ResourceKind): string {
  return apiVersion.includes('/') ? `${plural}.${apiVersion.split('/')[0]}.yaml` : `${plural}.yaml`
}

/** A Secret keeps its keys and loses their values, also in what kubectl noted of it. Pure. */
export function withoutSecrets(object: KubeObject): KubeObject {
  const { managedFields: _, ...metadata } = object.metadata as KubeObject['metadata'] & {
    managedFields?: unknown
  }
  if (object.kind !== 'Secret') return { ...object, metadata }
  const hidden = (values: Record<string, string> = {}) =>
    Object.fromEntries(Object.keys(values).map((key) => [key, '(not exported)']))
  const { 'kubectl.kubernetes.io/last-applied-configuration': _applied, ...annotations } =
    metadata.annotations ?? {}
  return {
    ...object,
    metadata: { ...metadata, annotations },
    data: hidden(object['data']),
    ...(object['stringData'] && { stringData: hidden(object['stringData']) }),
  }
}

async function collectEvents(dir: string, kube: Kube, signal: AbortSignal | undefined): Promise<void> {
  const lines = (await events(kube, undefined, { signal })).map(
    ({ lastSeen, type, reason, message, about, count }) =>
      [
        lastSeen,
        type,
        `${about.namespace ?? '-'}/${about.kind}/${about.name}`,
        reason,
        `×${count}`,
        message,
      ].join('\t'),
  )
  await put(dir, 'events.txt', `${lines.join('\n')}\n`)
}

async function put(dir: string, file: string, content: string): Promise<void> {
  await mkdir(dir, { recursive: true })
  await writeFile(join(dir, file), content)
}
