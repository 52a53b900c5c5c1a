import { text } from 'node:stream/consumers'
import { type Engine, engineStatus, execStream } from '../engine/index.ts'
import { waitError } from '../wait.ts'
import { loadFailed, type NodeView } from './node-view.ts'

const argv = ['mayfly-node', 'images-serve']
/** How long the program stays in a node for another question. */
const idleMs = 300_000

/** Answers questions until its program in the node ends. */
interface Conversation {
  /** @throws {@link Ended} */
  ask(question: object): Promise<unknown>
}

/** By the full id of a node's container, which no other engine has. */
const conversations = new Map<string, Promise<Conversation>>()

/**
 * Asks `mayfly-node images-serve` in a node. The first question starts the program, which takes longer than any answer;
 * it stays for those that follow, as long as this process does.
 *
 * @returns `undefined` when the node has no such program, or an older one
 * @throws MayflyError `IMAGE_LOAD_FAILED`, `ENGINE_LOST`, `WAIT_ABORTED`
 */
export async function askNode<Answer>(
  engine: Engine,
  node: NodeView,
  question: object,
  signal: AbortSignal | undefined,
): Promise<Answer | undefined> {
  const ask = async (conversation: Promise<Conversation>) => (await conversation).ask(question)
  const answer = async () => {
    const earlier = conversations.get(node.containerId)
    // The node, or its container runtime, may have been restarted since.
    return earlier ? ask(earlier).catch(() => ask(begin(engine, node))) : ask(begin(engine, node))
  }
  try {
    return (await unlessAborted(answer(), `an answer of node "${node.name}"`, signal)) as Answer
  } catch (thrown) {
    if (isWithoutProgram(thrown)) return undefined
    throw asLoadFailure(node, thrown)
  }
}

/** Starts the program in a node and keeps the conversation until it ends. */
function begin(engine: Engine, { containerId }: NodeView): Promise<Conversation> {
  const forget = () => {
    if (conversations.get(containerId) === begun) conversations.delete(containerId)
  }
  const begun = converse(engine, containerId, forget)
  conversations.set(containerId, begun)
  begun.catch(forget)
  return begun
}

async function converse(engine: Engine, containerId: string, onEnd: () => void): Promise<Conversation> {
  const running = await execStream(engine, containerId, argv)
  const stderr = text(running.stderr).catch(() => '')
  const waiting: PromiseWithResolvers<string>[] = []
  let end: { reason: unknown } | undefined
  let received = ''
  let otherOutput = ''
  running.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    const lines = (received + chunk).split('\n')
    received = lines.pop() ?? ''
    for (const line of lines) {
      // Docker tells here that a program is missing.
      if (line.startsWith('{')) waiting.shift()?.resolve(line)
      else otherOutput += line
    }
    // Nobody waits: this process need not stay for the program.
    if (waiting.length === 0) running.unref()
  })
  const idle = setTimeout(() => running.stdin.end(), idleMs).unref()
  void running.exited
    .then(
      async (exitCode) => new Ended(exitCode, (await stderr) || otherOutput + received),
      (thrown: unknown) => thrown,
    )
    .then((reason) => {
      end = { reason }
      clearTimeout(idle)
      onEnd()
      for (const { reject } of waiting.splice(0)) reject(reason)
    })
  return {
    async ask(question) {
      if (end) throw end.reason
      const answer = Promise.withResolvers<string>()
      waiting.push(answer)
      idle.refresh()
      running.ref()
      running.stdin.write(`${JSON.stringify(question)}\n`)
      return JSON.parse(await answer.promise)
    },
  }
}

/** The program ended before it had answered. */
class Ended extends Error {
  readonly exitCode: number
  readonly output: string

  constructor(exitCode: number, output: string) {
    super(`\`${argv.join(' ')}\` ended with exit code ${exitCode}`)
    this.exitCode = exitCode
    this.output = output
  }
}

/** Engines tell that a program is missing by an exit code, or by refusing the request. */
function isWithoutProgram(thrown: unknown): boolean {
  if (engineStatus(thrown) !== undefined) {
    return /executable file.*not found|no such file or directory/i.test(String(thrown))
  }
  if (!(thrown instanceof Ended)) return false
  const { exitCode, output } = thrown
  if (/unknown subcommand/.test(output)) return true
  return [126, 127].includes(exitCode) && /not found|no such file/i.test(output)
}

function asLoadFailure(node: NodeView, thrown: unknown): unknown {
  if (thrown instanceof Ended) return loadFailed(node, thrown.message, { output: thrown.output })
  if (engineStatus(thrown) === undefined) return thrown
  return loadFailed(node, 'its container takes no commands', { cause: thrown })
}

async function unlessAborted<T>(work: Promise<T>, what: string, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work
  const { promise: aborted, reject } = Promise.withResolvers<never>()
  const onAbort = () => reject(waitError(what, 'nothing', { timeoutMs: 0, signal }))
  if (signal.aborted) onAbort()
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await Promise.race([work, aborted])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
