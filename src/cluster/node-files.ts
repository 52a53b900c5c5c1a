import { buffer, text } from 'node:stream/consumers'
import { type Engine, engineStatus, execOrThrow, execStream, putFiles, readFile } from '../engine/index.ts'
import { MayflyError } from '../errors.ts'

/**
 * Reads a file as the node's own processes see it. Only they see what is mounted there: the engine's call for files
 * reads what lies beneath a tmpfs such as `/run`. That call is for a node that is stopped or paused.
 *
 * @throws MayflyError `EXEC_FAILED` when it can't be read
 */
export async function readNodeFile(engine: Engine, node: string, path: string): Promise<Buffer> {
  const seenInside = async () => {
    const cat = await execStream(engine, node, ['cat', '--', path], { stdin: false })
    const [content, output, exitCode] = await Promise.all([buffer(cat.stdout), text(cat.stderr), cat.exited])
    if (exitCode === 0) return content
    throw new MayflyError('EXEC_FAILED', `Can't read ${path} of node ${node}`, { output })
  }
  const onDisk = async () => {
    const content = await readFile(engine, node, path)
    if (content) return content
    throw new MayflyError('EXEC_FAILED', `Node ${node} has no file ${path}`)
  }
  return seenInside().catch(onceNotRunning(onDisk))
}

/**
 * Writes a file where the node's own processes see it, as {@link readNodeFile} reads. Missing folders are made; a file
 * that is there is overwritten, also behind a symbolic link.
 *
 * @throws MayflyError `EXEC_FAILED` when it can't be written
 */
export async function writeNodeFile(
  engine: Engine,
  node: string,
  { path, content, mode }: { path: string; content: string | Uint8Array; mode: number },
): Promise<void> {
  const script = 'mkdir -p -- "$(dirname -- "$1")" && cat > "$1" && chmod "$2" -- "$1"'
  const argv = ['sh', '-c', script, 'write', path, mode.toString(8)]
  await execOrThrow(engine, node, argv, { stdin: content })
    .then(() => undefined)
    .catch(onceNotRunning(() => putFiles(engine, node, [{ path, content, mode }])))
}

/** What is done instead once the engine has refused to run a command, as in a container that is stopped or paused. */
function onceNotRunning<Result>(instead: () => Promise<Result>): (thrown: unknown) => Promise<Result> {
  return (thrown) => {
    if (engineStatus(thrown) !== 409) throw thrown
    return instead()
  }
}
