import type { Writable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { type Pack, pack } from 'tar-stream'
import type { Engine, RunningExec } from '../engine/index.ts'
import { MayflyError, messageOf } from '../errors.ts'
import { deadline } from '../wait.ts'
import { loadFailed, type NodeView } from './node-view.ts'
import { nameImages, type Presence, type SharedImage, startImport } from './nodes.ts'
import type { WantedImage } from './sources.ts'

/** A node that lacks some of the images, and what it has of them. */
export interface Recipient {
  node: NodeView
  presence: Presence
  images: WantedImage[]
}

/** How long one node may take nothing while the others wait for it. */
const stallMs = 60_000
/** How long a node may take to finish once it has everything. */
const finishMs = 300_000
/** How long a node may take to clean up after a stream that was cut off. */
const cutMs = 10_000

/** A node that takes a stream. */
export interface Receiver extends Recipient {
  running: RunningExec
  tar: Pack
  stdout: Promise<string>
  /** Settles when the import ends, for whatever reason. */
  ended: Promise<void>
  failure?: MayflyError
  done?: true
  /** Ends the wait for this node to take more, while there is one. */
  release?: (() => void) | undefined
}

/** Starts the import in a node. */
export async function receive(engine: Engine, recipient: Recipient, platform: string): Promise<Receiver> {
  const { node, presence } = recipient
  const running = await startImport(engine, node, { ours: presence.ours, platform })
  const tar = pack({ highWaterMark: 2 ** 20 })
  const stdout = text(running.stdout).catch(() => '')
  const stderr = text(running.stderr).catch(() => '')
  const receiver: Receiver = { ...recipient, running, tar, stdout, ended: Promise.resolve() }
  receiver.ended = running.exited.then(
    async (exitCode) => {
      if (exitCode !== 0) {
        receiver.failure ??= loadFailed(node, `the import there ended with exit code ${exitCode}`, {
          output: (await stderr) || (await stdout),
        })
      }
    },
    (thrown: unknown) => {
      receiver.failure ??= asFailure(node, thrown)
    },
  )
  // A node that ends early must not be waited for.
  void receiver.ended.then(() => {
    tar.destroy()
    receiver.release?.()
  })
  void pump(tar, running.stdin)
  return receiver
}

async function pump(tar: Pack, stdin: Writable): Promise<void> {
  let wake: (() => void) | undefined
  stdin.on('drain', () => wake?.())
  stdin.on('close', () => wake?.())
  try {
    for await (const chunk of tar) {
      if (stdin.write(chunk) || stdin.destroyed) continue
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    }
  } catch {
    // Cut off; the import finds no plan at the end and undoes what it did.
  }
  stdin.end()
}

/**
 * Waits until a node takes more, or fails. One function to call for all that may end the wait: promises raced against
 * one that lives as long as the import would pile up on it.
 */
export function room(receiver: Receiver): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      receiver.failure ??= loadFailed(receiver.node, `it took nothing for ${stallMs / 1000} s`)
      void cutOff(receiver)
      receiver.release?.()
    }, stallMs)
    receiver.release = () => {
      clearTimeout(timer)
      receiver.release = undefined
      resolve()
    }
    if (receiver.failure) receiver.release()
  })
}

/** Waits for the end of an import that has its whole stream; a failure is then in the receiver. */
export async function finish(
  engine: Engine,
  receiver: Receiver,
  signal: AbortSignal | undefined,
): Promise<void> {
  const limit = deadline({ timeoutMs: finishMs, signal })
  const over = aborted(limit)
  await Promise.race([receiver.ended, over.promise])
  over.cancel()
  signal?.throwIfAborted()
  if (limit.aborted) {
    receiver.failure ??= loadFailed(receiver.node, `the import did not end within ${finishMs / 1000} s`)
    return cutOff(receiver)
  }
  if (!receiver.failure) receiver.done = true
  if (receiver.failure || receiver.presence.ours) return
  await nameImages(engine, receiver.node, receiver.images, signal).catch((thrown: unknown) => {
    receiver.failure = asFailure(receiver.node, thrown)
  })
}

/** Ends a node's stream before the plan, and gives the import there time to undo what it did. */
export async function cutOff({ tar, running, ended }: Receiver): Promise<void> {
  tar.destroy()
  running.stdin.end()
  const over = aborted(AbortSignal.timeout(cutMs))
  await Promise.race([ended, over.promise])
  over.cancel()
  running.stdin.destroy(new Error('cut off'))
}

function aborted(signal: AbortSignal): { promise: Promise<void>; cancel: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>()
  if (signal.aborted) resolve()
  signal.addEventListener('abort', () => resolve(), { once: true })
  return { promise, cancel: resolve }
}

/** What `mayfly-node images-import` printed at its end, by node; those of older node images print nothing. */
export async function answersOf(receivers: readonly Receiver[]): Promise<Map<string, SharedImage[]>> {
  const answers = receivers.map(async ({ node, stdout, presence }): Promise<[string, SharedImage[]][]> => {
    const answer = presence.ours && (await stdout)
    return answer ? [[node.name, (JSON.parse(answer) as { images: SharedImage[] }).images]] : []
  })
  return new Map((await Promise.all(answers)).flat())
}

/** The error of a node, whatever was thrown. */
export function asFailure(node: NodeView, thrown: unknown): MayflyError {
  return thrown instanceof MayflyError && thrown.code === 'IMAGE_LOAD_FAILED'
    ? thrown
    : loadFailed(node, messageOf(thrown), { cause: thrown })
}
