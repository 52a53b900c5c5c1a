import { readdir, readFile } from 'node:fs/promises'
import { basename, dirname, isAbsolute, join, relative, resolve } from 'node:path'
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseAllDocuments,
  Scalar,
  visit,
  type YAMLMap,
} from 'yaml'
import { MayflyError, messageOf } from '../errors.ts'
import { nearest } from './nearest.ts'
import type { TextPosition } from './patches.ts'
import { configError, type FieldPath, type Problem } from './problems.ts'

/** A YAML file that was read, and where everything in it stands. */
export interface ConfigFile {
  /** Absolute path of the file's folder. */
  folder: string
  /** The content as plain data; fields without a value are left out. */
  content(): unknown
  /** `file:line:column` of a problem. */
  place(problem: Problem): { text: string } & TextPosition
  /**
   * Reads the scalar at a problem's path again as the text or the flag that its field wants, as kind's YAML reader
   * does: `1` and `true` are texts where a text is wanted, `yes` and `off` are flags where a flag is.
   *
   * @returns Whether that was possible
   */
  reread(problem: Problem): boolean
}

/**
 * Reads a YAML file that describes a cluster.
 *
 * @throws MayflyError `CONFIG_UNREADABLE` when there is no such file or it can't be read, `CONFIG_INVALID` when it is
 * not one YAML document
 */
export async function readConfigFile(path: string, cwd: string): Promise<ConfigFile> {
  const absolutePath = resolve(cwd, path)
  const inside = relative(cwd, absolutePath)
  const shownPath = inside.startsWith('..') || isAbsolute(inside) ? absolutePath : inside
  const source = await readFile(absolutePath, 'utf8').catch(async (thrown: NodeJS.ErrnoException) => {
    throw await unreadable(thrown, absolutePath, shownPath)
  })
  const lines = new LineCounter()
  const position = (offset = 0) => {
    const { line, col } = lines.linePos(offset)
    return `${shownPath}:${line}:${col}`
  }
  const document = parseOneDocument(source, lines, position)
  return {
    folder: dirname(absolutePath),
    content: () => withoutNulls(document.toJS()),
    place(problem) {
      const { line, column } = positionOf(document, problem, lines, source)
      return { line, column, text: `${shownPath}:${line}:${column}` }
    },
    reread({ path, wants }) {
      const { node, depth } = walk(document, path)
      return depth === path.length && wants !== undefined && isScalar(node) && rereadScalar(node, wants)
    },
  }
}

function parseOneDocument(
  source: string,
  lines: LineCounter,
  position: (offset?: number) => string,
): Document {
  const documents = parseAllDocuments(source, { lineCounter: lines, prettyErrors: false, merge: true })
  // One slip makes the parser report several errors in one place; the first says it best.
  const faults = new Map<string, string>()
  const addFault = (offset: number | undefined, message: string) => {
    const place = position(offset)
    if (!faults.has(place)) faults.set(place, `${place}: ${message}`)
  }
  for (const document of documents) {
    for (const { pos, message } of document.errors) addFault(pos[0], message)
    visit(document, {
      Alias: (_, alias) => {
        if (!alias.resolve(document))
          addFault(alias.range?.[0], `there is no anchor "&${alias.source}" before this alias`)
      },
    })
  }
  if (faults.size > 0) throw configError([...faults.values()])

  const [document, second] = documents.filter(({ contents }) => !isNull(contents))
  if (!document)
    throw configError([`${position()}: the file is empty; allowed: a Cluster of kind.x-k8s.io/v1alpha4`])
  if (second) {
    const place = position(second.contents?.range?.[0])
    throw configError([`${place}: a second YAML document begins here; allowed: one document a file`])
  }
  try {
    document.toJS()
  } catch (thrown) {
    // Aliases that multiply without end.
    throw configError([`${position()}: ${messageOf(thrown)}`])
  }
  return document
}

async function unreadable(
  thrown: NodeJS.ErrnoException,
  absolutePath: string,
  shownPath: string,
): Promise<MayflyError> {
  if (thrown.code !== 'ENOENT') {
    const reason = thrown.code === 'EISDIR' ? 'it is a folder' : thrown.message
    return new MayflyError(
      'CONFIG_UNREADABLE',
      `Could not read the cluster configuration ${shownPath}: ${reason}`,
      {
        cause: thrown,
      },
    )
  }
  const neighbours = await readdir(dirname(absolutePath)).catch(() => [])
  const guess = nearest(basename(shownPath), neighbours)
  return new MayflyError('CONFIG_UNREADABLE', `There is no cluster configuration at ${shownPath}`, {
    hint: guess ? `Did you mean ${join(dirname(shownPath), guess)}?` : `Looked for ${absolutePath}`,
    cause: thrown,
  })
}

interface Found {
  /** The node at the path, or the last one on the way to it. */
  node: unknown
  /** The key under which that node stands. */
  key: unknown
  /** How much of the path was found. */
  depth: number
}

function walk(document: Document, path: FieldPath): Found {
  let found: Found = { node: document.contents, key: undefined, depth: 0 }
  for (const step of path) {
    const container = dereference(found.node, document)
    const next = isMap(container)
      ? pairOf(container, step, document)
      : isSeq(container) && typeof step === 'number' && step < container.items.length
        ? { key: undefined, value: container.items[step] }
        : undefined
    if (!next) break
    found = { node: next.value, key: next.key, depth: found.depth + 1 }
  }
  return { ...found, node: dereference(found.node, document) }
}

function dereference(node: unknown, document: Document): unknown {
  return isAlias(node) ? node.resolve(document) : node
}

/** The pair of a key in a map, or in those merged into it with `<<`. */
function pairOf(map: YAMLMap, key: string | number, document: Document): Pair | undefined {
  const keyOf = (pair: Pair) => (isScalar(pair.key) ? String(pair.key.value) : undefined)
  const own = map.items.find((pair) => keyOf(pair) === String(key))
  if (own) return own
  for (const pair of map.items) {
    if (!isScalar(pair.key) || pair.key.source !== '<<') continue
    const merged = dereference(pair.value, document)
    for (const source of isSeq(merged) ? merged.items : [merged]) {
      const target = dereference(source, document)
      const inherited = isMap(target) ? pairOf(target, key, document) : undefined
      if (inherited) return inherited
    }
  }
  return undefined
}

function positionOf(
  document: Document,
  { path, inKey, at }: Problem,
  lines: LineCounter,
  source: string,
): TextPosition {
  const { node, key, depth } = walk(document, path)
  // An empty value has no place of its own worth showing.
  const target = (inKey && depth === path.length) || isNull(node) ? (key ?? node) : node
  const offset = (target as Node | null)?.range?.[0] ?? 0
  const { line, col } = lines.linePos(offset)
  if (at && isScalar(node) && node.type === Scalar.BLOCK_LITERAL) {
    // A literal block's text begins in the line after its header, every line indented alike.
    const [start, end] = node.range ?? [0, 0]
    const indent = /\n( *)\S/.exec(source.slice(start, end))?.[1]?.length ?? 0
    return { line: line + at.line, column: indent + at.column }
  }
  return { line, column: col }
}

function isNull(node: unknown): boolean {
  return node === null || (isScalar(node) && node.value === null)
}

function rereadScalar(node: Scalar, wants: 'text' | 'flag'): boolean {
  if (
    wants === 'text' &&
    node.source !== undefined &&
    ['number', 'boolean', 'bigint'].includes(typeof node.value)
  ) {
    node.value = node.source
    return true
  }
  // YAML 1.1's other words for true and false, which Go's YAML reader takes for fields that are flags.
  if (wants === 'flag' && node.type === Scalar.PLAIN && /^(?:y|yes|on|n|no|off)$/i.test(String(node.value))) {
    node.value = /^(?:y|yes|on)$/i.test(String(node.value))
    return true
  }
  return false
}

/** A field without a value counts as absent, as it does for kind; list items stay. */
export function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNulls)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, field]) => field !== null)
      .map(([key, field]) => [key, withoutNulls(field)]),
  )
}
