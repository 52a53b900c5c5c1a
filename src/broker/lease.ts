import { connect } from 'node:net'
import { MayflyError, messageOf } from '../errors.ts'
import type { ClusterContext, LeaseRequest } from './protocol.ts'

/** A cluster of the broker's that this process may use. */
export interface Lease {
  cluster: ClusterContext
  /** Gives it back. The end of this process does so as well. */
  release(): Promise<void>
}

/**
 * Asks the broker for a cluster, and waits until there is one.
 *
 * @param address Where the broker listens
 * @throws MayflyError what kept the broker from making one; `WAIT_ABORTED` when the broker is gone
 */
export async function leaseCluster(address: string, request: LeaseRequest): Promise<Lease> {
  // Most test files share a cluster, and never need what this needs.
  const { errorOf, firstLine, lineOf, readAnswer } = await import('./protocol.ts')
  const socket = connect(address)
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  socket.write(lineOf(request))
  const line = await firstLine(socket).catch((cause: unknown) => {
    const summary = `${request.file} waited for a cluster, and the process that hands them out is gone: ${messageOf(cause)}`
    throw new MayflyError('WAIT_ABORTED', summary, { cause })
  })
  const answer = readAnswer(line)
  if (answer.type === 'failure') {
    socket.destroy()
    throw errorOf(answer)
  }
  // Whoever forgets to give it back must still be able to end.
  socket.unref()
  return {
    cluster: answer.cluster,
    async release() {
      socket.end()
      await closed
    },
  }
}
