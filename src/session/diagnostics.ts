import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { stringify } from 'yaml'
import { messageOf } from '../errors.ts'
import {
  describeFailure,
  events,
  followPodLogs,
  type Kube,
  type KubeObject,
  listNamespace,
  watchList,
} from '../kube/index.ts'

/** What is known of a namespace at the end of a test that failed. */
export interface Diagnosis {
  /** In brief, for people. */
  text: string
  /** Folder with all of it. */
  dir: string
}

/** What the containers of some namespaces write, from the start of the recording on, also when their pods are gone since. */
export interface Recording extends AsyncDisposable {
  /** Last lines by container: `namespace/pod/container`, with `#2` for its second run and so on. */
  logs(): Map<string, string[]>
}

/** Lines that are kept of each container. */
const keptLines = 1000

/**
 * Starts to follow all containers of namespaces. Nothing is thrown: a cluster that does not answer is the test's to notice.
 *
 * @param since Earlier lines are left out, for namespaces that are not the test's alone
 */
export function recordLogs(kube: Kube, namespaces: readonly string[], since: Date): Recording {
  const ended = new AbortController()
  const recorded = new Map<string, string[]>()
  const following = new Set<Promise<void>>()

  function follow(pod: KubeObject): void {
    for (const { name, containerID, state, restartCount } of statusesOf(pod)) {
      if (!containerID || !(state?.running || state?.terminated)) continue
      const key = `${pod.metadata.namespace}/${pod.metadata.name}/${name}${restartCount > 0 ? `#${restartCount + 1}` : ''}`
      if (recorded.has(key)) continue
      const lines: string[] = []
      recorded.set(key, lines)
      const options = { container: name, sinceTime: since, signal: ended.signal }
      following.add(collect(followPodLogs(kube, pod, options), lines))
    }
  }

  const watches = namespaces.map(async (namespace) => {
    const target = { path: `/api/v1/namespaces/${namespace}/pods` }
    for await (const { items, object } of watchList(kube, target, { signal: ended.signal })) {
      for (const pod of object ? [object] : items.values()) follow(pod)
    }
  })
  const watched = Promise.allSettled(watches)

  return {
    logs: () => recorded,
    async [Symbol.asyncDispose]() {
      ended.abort()
      await watched
      await Promise.allSettled(following)
    },
  }
}

async function collect(source: AsyncIterable<string>, lines: string[]): Promise<void> {
  try {
    for await (const line of source) {
      lines.push(line)
      if (lines.length > keptLines) lines.shift()
    }
  } catch (thrown) {
    lines.push(`(the log could not be read further: ${messageOf(thrown)})`)
  }
}

interface ContainerStatus {
  name: string
  containerID?: string
  restartCount: number
  state?: { running?: object; terminated?: object }
}

function statusesOf({ status }: KubeObject): ContainerStatus[] {
  return [...(status?.initContainerStatuses ?? []), ...(status?.containerStatuses ?? [])]
}

/** Time for asking a cluster, which may be what is broken. */
const askingMs = 10_000

/**
 * Collects what is known of a namespace: its objects, events, states of containers and logs, as files in a folder of the test's
 * own, and in brief.
 */
export async function diagnose(
  kube: Kube,
  namespace: string,
  recording: Recording,
  { testName, errors, diagnosticsDir }: { testName: string; errors: string[]; diagnosticsDir: string },
): Promise<Diagnosis> {
  const signal = AbortSignal.timeout(askingMs)
  const dir = join(diagnosticsDir, folderNameFor(testName))
  const [report, objects, happened] = await Promise.all([
    describeFailure(kube, namespace, { signal }).then(
      ({ text }) => text,
      (thrown) => `(the cluster could not be asked: ${messageOf(thrown)})`,
    ),
    listNamespace(kube, namespace, signal).catch(() => []),
    events(kube, namespace, { signal }).catch(() => []),
  ])
  const logs = [...recording.logs()].filter(([, lines]) => lines.length > 0)
  const tails = logs.flatMap(([container, lines]) => [
    `Log of ${container}`,
    ...lines.slice(-briefLines).map((line) => `  | ${line}`),
  ])
  const text = [
    `Namespace ${namespace}: ${report ? '' : 'every object says that it is well'}`,
    report && indent(report),
    indent(tails.join('\n')),
  ]
    .filter((part) => part.trim())
    .join('\n')
  await rm(dir, { recursive: true, force: true })
  await mkdir(join(dir, 'logs'), { recursive: true })
  const files: [name: string, content: string][] = [
    ['summary.txt', [testName, ...errors, text].join('\n\n')],
    ['objects.yaml', objects.map((object) => stringify(withoutNoise(object))).join('---\n')],
    ['events.txt', happened.map(eventLine).join('\n')],
    ...logs.map(([container, lines]): [string, string] => [
      join('logs', `${container.replaceAll('/', '_')}.log`),
      `${lines.join('\n')}\n`,
    ]),
  ]
  await Promise.all(files.map(([name, content]) => writeFile(join(dir, name), content)))
  return { text: `${text}\n  All of it is in ${relative(process.cwd(), dir) || dir}`, dir }
}

/** Lines of each log that are shown at once; all that is kept is in the files. */
const briefLines = 8

function folderNameFor(testName: string): string {
  return testName.replaceAll(/[^\w.-]+/g, '-').slice(0, 120) || 'test'
}

function withoutNoise({ apiVersion, kind, metadata, ...content }: KubeObject): object {
  const { managedFields: _, ...rest } = metadata
  return { apiVersion, kind, metadata: rest, ...content }
}

function eventLine({
  lastSeen,
  type,
  about,
  reason,
  message,
  count,
}: Awaited<ReturnType<typeof events>>[number]): string {
  return `${lastSeen} ${type} ${about.kind} ${about.name}: ${reason}: ${message}${count > 1 ? ` (${count} times)` : ''}`
}

function indent(text: string): string {
  return text.replaceAll(/^(?=.)/gm, '  ')
}
