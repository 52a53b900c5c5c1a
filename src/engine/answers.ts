import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'

/** Where answers are kept: a file of JSON, or `false` for nowhere. */
export interface AnswerOptions {
  /** Look again even when the answer is known from before. Default false. */
  fresh?: boolean
  /** File that keeps the answers. Default: one of this room's in `$XDG_CACHE_HOME/mayfly`; `false` for none. */
  cacheFile?: string | false
}

/** Asks what throwaway containers tell of a host once for all processes, and anew for each `key`. */
export async function answerOnce<Answer>(
  name: string,
  key: string,
  { fresh = false, cacheFile = defaultFile(name) }: AnswerOptions,
  find: () => Promise<Answer>,
): Promise<Answer> {
  const known = cacheFile && !fresh ? (await readAnswers<Answer>(cacheFile))[key] : undefined
  if (known !== undefined) return known
  const found = await find()
  if (cacheFile && found !== undefined) {
    await writeAnswers(cacheFile, { ...(await readAnswers<Answer>(cacheFile)), [key]: found })
  }
  return found
}

function defaultFile(name: string): string {
  return join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'mayfly', `${name}.json`)
}

/** A file that can't be read has no answers. */
async function readAnswers<Answer>(file: string): Promise<Record<string, Answer>> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as Record<string, Answer>
  } catch {
    return {}
  }
}

/** A file that can't be written costs a second next time, no more. */
async function writeAnswers(file: string, answers: Record<string, unknown>): Promise<void> {
  const draft = `${file}.${process.pid}`
  try {
    await mkdir(dirname(file), { recursive: true })
    await writeFile(draft, JSON.stringify(answers, null, 2))
    await rename(draft, file)
  } catch {}
}
