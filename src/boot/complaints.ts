import { type Engine, exec } from '../engine/index.ts'
import { amended, isMayflyError, type MayflyError } from '../errors.ts'

/** Lines of each source that are shown: the last ones tell. */
const linesShown = 6

/** Time for one node to answer, in milliseconds. */
const answerMs = 5000

/**
 * Runs something that needs these nodes to come up; when it gives up, what the nodes have to say for themselves goes
 * with the error: their kubelets, and the static pods that ended.
 *
 * @param nodesOf Which of the nodes the error is about
 */
export async function withComplaints<T>(
  engine: Engine,
  nodesOf: (error: MayflyError) => readonly string[],
  run: () => Promise<T>,
): Promise<T> {
  try {
    return await run()
  } catch (thrown) {
    if (!isMayflyError(thrown) || !['WAIT_TIMED_OUT', 'EXEC_FAILED'].includes(thrown.code)) throw thrown
    const complaints = await Promise.all(nodesOf(thrown).map((node) => complaintsOf(engine, node)))
    const output = [thrown.output, ...complaints].filter(Boolean).join('\n')
    throw amended(thrown, output ? { output } : {})
  }
}

/** Begins what a node has to say for itself. */
const title = 'Logs of node '

/** An error's output without what {@link withComplaints} added to it. Pure. */
export function withoutComplaints(output: string): string {
  const [own = ''] = output.split(new RegExp(`^${title}`, 'm'), 1)
  return own
}

async function complaintsOf(engine: Engine, node: string): Promise<string> {
  const ask = async (...argv: string[]) => {
    const { stdout } = await exec(engine, node, argv, { timeoutMs: answerMs })
    return stdout.split('\n')
  }
  try {
    const kubelet = kubeletComplaints(await ask('journalctl', '--no-pager', '--output=cat', '--unit=kubelet'))
    const logs = (
      await ask('find', '/var/log/pods', '-path', '/var/log/pods/kube-system_*', '-name', '*.log')
    ).filter((path) => /_(etcd|kube-apiserver)-/.test(path))
    const pods = await Promise.all(
      logs.map(async (path) => podComplaints(path, await ask('tail', `--lines=${linesShown}`, path))),
    )
    const complaints = [...(kubelet.length > 0 ? ['kubelet:', ...kubelet] : []), ...pods.flat()]
    return complaints.length > 0 ? [`${title}${node}:`, ...complaints].join('\n') : ''
  } catch (thrown) {
    return `(node ${node} does not tell: ${String(thrown).split('\n', 1)[0]})`
  }
}

/** The last errors in a kubelet's journal, each once. Pure. */
export function kubeletComplaints(journal: readonly string[]): string[] {
  // klog's prefix has the time, which makes equal lines differ; what has none is a last word before the end.
  const errors = journal.flatMap((line) => {
    const [, text] = /^[EF]\d{4} \S+\s+\d+ (.*)$/.exec(line) ?? []
    return text ?? (/^error:|^panic:|"command failed"/i.test(line) ? line : [])
  })
  return [...new Set(errors.reverse())].slice(0, linesShown).reverse()
}

/** The end of a container's log, without what the runtime adds to each line. Pure. */
export function podComplaints(path: string, lines: readonly string[]): string[] {
  const texts = lines.map((line) => line.replace(/^\S+ std(?:out|err) [FP] /, '')).filter(Boolean)
  const [container = ''] = path.split('/').slice(-2)
  return texts.length > 0 ? [`${container}:`, ...texts] : []
}
