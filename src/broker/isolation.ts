import { MayflyError } from '../errors.ts'

/** All kinds of isolation, from the least to the most. */
export const isolations = ['run', 'namespace', 'rollback', 'cluster'] as const

/**
 * What a test file has to itself.
 *
 * - `run`: nothing. All tests of the run work in the namespace `default` of one cluster, and see what others left.
 * - `namespace`: each test a namespace, in a cluster that all files share.
 * - `rollback`: a cluster, as long as the file runs, in the state after `manifests` were installed. It is rolled back
 *   afterwards, for the next file. Each test has a namespace in it.
 * - `cluster`: a cluster that nobody had before and nobody gets afterwards. Each test has a namespace in it.
 *
 * @public
 */
export type Isolation = (typeof isolations)[number]

/** The kinds in which no other file uses the cluster at the same time. */
export type OwnIsolation = Extract<Isolation, 'rollback' | 'cluster'>

/** Whether files with this isolation have a cluster of their own. */
export function isOwn(isolation: Isolation): isolation is OwnIsolation {
  return isolation === 'rollback' || isolation === 'cluster'
}

/**
 * Takes a word for a kind of isolation.
 *
 * @param where Where it stands, as it reads at the start of a sentence
 * @throws MayflyError `CONFIG_INVALID` for any other word
 */
export function isolationNamed(word: unknown, where: string): Isolation {
  const known = isolations.find((isolation) => isolation === word)
  if (known) return known
  throw new MayflyError('CONFIG_INVALID', `${where} is ${JSON.stringify(word) ?? 'nothing'}`, {
    hint: `Choose one of ${isolations.join(', ')}`,
  })
}

/** The pragma by which a test file chooses its isolation. */
export const isolationPragma = 'mayfly-isolation'

/** A byte-order mark, a line for the shell, and all comments before the first line of code. */
const beforeCode = /^\uFEFF?(?:#!.*)?(?:\s|\/\/.*|\/\*[\s\S]*?\*\/)*/

/**
 * The isolation that a test file chooses for itself by `@mayfly-isolation` in its first comment; `undefined` where it
 * chooses none.
 *
 * @throws MayflyError `CONFIG_INVALID` for a word that is no isolation
 */
export function isolationInSource(source: string, file: string): Isolation | undefined {
  const [comments = ''] = beforeCode.exec(source) ?? []
  const pragma = new RegExp(`@${isolationPragma}\\b[ \\t]*([^\\s*]*)`).exec(comments)
  return pragma ? isolationNamed(pragma[1], `@${isolationPragma} of ${file}`) : undefined
}
