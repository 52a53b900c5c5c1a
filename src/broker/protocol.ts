import type { Socket } from 'node:net'
import { z } from 'zod'
import type { NodeRole } from '../config/index.ts'
import { isMayflyError, MayflyError, type MayflyErrorCode, messageOf } from '../errors.ts'
import { isolations } from './isolation.ts'

/**
 * What there is to know of a cluster that is ready for tests; plain data.
 *
 * @public
 */
export interface ClusterContext {
  /** The cluster's name. */
  name: string
  /** Kubeconfig, as text, for this host. */
  kubeconfig: string
  /** The same in a file, for programs that want a `KUBECONFIG`. */
  kubeconfigPath: string
  /** Kubeconfig, as text, for pods and for containers in the cluster's network. */
  internalKubeconfig: string
  nodes: { name: string; role: NodeRole; addresses: string[] }[]
  /** The images of the `images` option, by the names under which nodes have them. */
  images: string[]
  /** The cluster has no nodes, and no pod ever runs in it. */
  controlPlaneOnly: boolean
  /** Namespaces in which the `manifests` option put pods, whose logs tell why a test failed. */
  manifestNamespaces: string[]
}

const clusterContext = z.object({
  name: z.string(),
  kubeconfig: z.string(),
  kubeconfigPath: z.string(),
  internalKubeconfig: z.string(),
  nodes: z.array(
    z.object({
      name: z.string(),
      role: z.enum(['control-plane', 'worker']),
      addresses: z.array(z.string()),
    }),
  ),
  images: z.array(z.string()),
  controlPlaneOnly: z.boolean(),
  manifestNamespaces: z.array(z.string()),
}) satisfies z.ZodType<ClusterContext>

/**
 * What is said over a connection: one line of JSON each way. The worker asks; the broker answers when there is a cluster, or when
 * there can be none. The cluster is the worker's as long as the connection stands: it breaks with any death.
 */
const request = z.object({
  isolation: z.enum(isolations),
  /** The test file, as messages name it. */
  file: z.string(),
})

const answer = z.discriminatedUnion('type', [
  z.object({ type: z.literal('cluster'), cluster: clusterContext }),
  z.object({ type: z.literal('failure'), code: z.string(), message: z.string() }),
])

/** What a worker asks for. */
export type LeaseRequest = z.infer<typeof request>

/** What the broker answers. */
export type LeaseAnswer = z.infer<typeof answer>

/** Reads a worker's line. */
export function readRequest(line: string): LeaseRequest {
  return request.parse(JSON.parse(line))
}

/** Reads the broker's line. */
export function readAnswer(line: string): LeaseAnswer {
  return answer.parse(JSON.parse(line))
}

/** A message as a line. */
export function lineOf(message: LeaseRequest | LeaseAnswer): string {
  return `${JSON.stringify(message)}\n`
}

/** The first line that comes over a connection. What comes after it is read and dropped, so that its end is noticed. */
export function firstLine(socket: Socket): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  let text = ''
  let failure: Error | undefined
  socket.setEncoding('utf8')
  socket.on('data', (chunk: string) => {
    text += chunk
    const [line, ...rest] = text.split('\n')
    if (rest.length > 0) resolve(line ?? '')
  })
  socket.once('error', (error) => {
    failure = error
  })
  socket.once('close', () => reject(failure ?? new Error('the other side hung up')))
  return promise
}

/** An error as the broker tells it. Its message has the hint and the output in it. */
export function failureOf(thrown: unknown): LeaseAnswer {
  return {
    type: 'failure',
    code: isMayflyError(thrown) ? thrown.code : 'CLUSTER_UNFIT',
    message: messageOf(thrown),
  }
}

/** The error of which the broker told. */
export function errorOf({ code, message }: Extract<LeaseAnswer, { type: 'failure' }>): MayflyError {
  return new MayflyError(code as MayflyErrorCode, message)
}
