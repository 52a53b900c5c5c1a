import { isMayflyError } from '../errors.ts'
import { kubeStatus } from '../kube/index.ts'
import { withoutComplaints } from './complaints.ts'

/** What Go programs print when the other side is not there for a moment, or too slow. */
const passingReason =
  /connection refused|connection reset|TLS handshake timeout|i\/o timeout|unexpected EOF|etcdserver: |ServiceUnavailable|InternalError/

/**
 * By then an API server that can start has started: kubeadm waits for minutes. One whose configuration is wrong never
 * does, and connections to it are refused as well.
 */
const waitedInVain = /error execution phase (wait-control-plane|kubelet-start)/

/**
 * The line of a bake's error that tells of a reason which may be gone the next time, such as an API server that was
 * started again under the eyes of kubeadm on a busy host; `undefined` when the configuration may be at fault. Pure.
 */
export function passingFailure(thrown: unknown): string | undefined {
  if (!isMayflyError(thrown)) return undefined
  const [summary = ''] = thrown.message.split('\n', 1)
  switch (thrown.code) {
    case 'EXEC_FAILED': {
      // What kubeadm printed: a kubelet's journal, which may be added to it, always has refused connections.
      const output = withoutComplaints(thrown.output ?? '')
      if (waitedInVain.test(output)) return undefined
      return output
        .split('\n')
        .find((line) => passingReason.test(line))
        ?.trim()
    }
    case 'KUBE_REQUEST_FAILED':
    case 'APPLY_FAILED': {
      const status = kubeStatus(thrown)
      return !status || status.code === 429 || status.code >= 500 ? summary : undefined
    }
    default:
      return undefined
  }
}

/**
 * Runs something that starts from nothing and leaves nothing behind, and once more when it failed for a reason that may
 * pass.
 *
 * @param note Told of the first failure, before the second attempt
 */
export async function withSecondAttempt<T>(run: () => Promise<T>, note: (text: string) => void): Promise<T> {
  try {
    return await run()
  } catch (thrown) {
    const reason = passingFailure(thrown)
    if (reason === undefined) throw thrown
    note(`The first attempt failed, and is repeated from the start: ${reason}`)
    return run()
  }
}
