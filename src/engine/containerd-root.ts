import { randomUUID } from 'node:crypto'
import { MayflyError } from '../errors.ts'
import { type AnswerOptions, answerOnce } from './answers.ts'
import {
  type Abortable,
  createContainer,
  removeContainer,
  startContainer,
  waitForExit,
} from './containers.ts'
import type { Engine } from './engine.ts'
import { containerLogs } from './logs.ts'
import { noPrivilege } from './privilege.ts'

/** How {@link findContainerdRoot} goes about it. */
export interface ContainerdRootOptions extends Abortable, AnswerOptions {
  /** Labels for the throwaway container, so that a sweep finds it after a crash. */
  labels?: Record<string, string>
}

/**
 * Finds the folder in which the containerd of an engine with the containerd image store keeps its data: the engine
 * does not tell, but the mounts of any of its containers do. A throwaway container shows them; the answer is kept for this
 * engine.
 *
 * @param image An image that the engine has, with `cat`
 * @returns `undefined` where it can't be told
 * @throws MayflyError `ENGINE_LOST`, `WAIT_ABORTED`
 */
export async function findContainerdRoot(
  engine: Engine,
  image: string,
  { labels = {}, signal, ...answers }: ContainerdRootOptions = {},
): Promise<string | undefined> {
  const key = [engine.id, engine.version, engine.rootDir].join(' ')
  return answerOnce('containerd-root', key, answers, async () => {
    const name = `mayfly-mounts-${randomUUID().slice(0, 8)}`
    const spec = { name, image, labels, entrypoint: ['cat'], command: ['/proc/self/mountinfo'] }
    try {
      await createContainer(engine, { ...spec, network: 'none', privilege: noPrivilege }, { signal })
      await startContainer(engine, name, { signal })
      await waitForExit(engine, name, { signal })
      return containerdRootIn(await containerLogs(engine, name, { signal }))
    } catch (thrown) {
      if (!(thrown instanceof MayflyError) || thrown.code !== 'ENGINE_REFUSED') throw thrown
      return undefined
    } finally {
      await removeContainer(engine, name).catch(() => undefined)
    }
  })
}

/**
 * The data folder of the containerd that made a container's root file system. Pure.
 *
 * @param mountinfo The container's /proc/self/mountinfo (proc_pid_mountinfo(5)): the overlay's own options name
 *   directories as the host has them, but for characters that are written as octal numbers
 */
export function containerdRootIn(mountinfo: string): string | undefined {
  const root = mountinfo
    .split('\n')
    .find((line) => line.split(' ')[4] === '/' && line.includes(' - overlay '))
  return /,upperdir=(\/[^,\\]+)\/io\.containerd\.snapshotter\.v1\.overlayfs\/snapshots\/\d+\/fs(,|$)/.exec(
    root ?? '',
  )?.[1]
}
