import { MayflyError } from '../errors.ts'

/**
 * What a JSONPath as kubectl takes it (https://kubernetes.io/docs/reference/kubectl/jsonpath/) finds in a value:
 * fields, `['quoted']` fields, indexes, slices, `*`, `..` and filters such as `[?(@.type=="Ready")]`. Braces and the leading `$` or dot may be
 * left out. What is missing is simply not found.
 *
 * @throws MayflyError `CONFIG_INVALID` when the path cannot be read
 * @public
 */
export function jsonPath(path: string, value: unknown): unknown[] {
  let found: unknown[] = [value]
  for (const step of parsePath(path)) found = found.flatMap((one) => take(step, one))
  return found
}

type Step =
  | { field: string }
  | { index: number }
  | { slice: [number | undefined, number | undefined] }
  | { filter: (item: unknown) => boolean }
  | 'all'
  | 'deep'

const fieldPattern = /^[^\s.[\]'"()?*{}]+/
const bracketPattern = /^\[\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|(-?\d+)|(\*)|(-?\d*):(-?\d*))\s*\]/
const filterPattern = /^\[\?\(\s*@((?:[^()=!<>'"]|'[^']*'|"[^"]*")*?)\s*(?:(==|!=|<=|>=|<|>)\s*(.+?))?\s*\)\]/

function parsePath(path: string): Step[] {
  let rest = path.trim()
  if (rest.startsWith('{') && rest.endsWith('}')) rest = rest.slice(1, -1).trim()
  if (rest.startsWith('$') || rest.startsWith('@')) rest = rest.slice(1)
  const steps: Step[] = []
  const bad = () =>
    new MayflyError('CONFIG_INVALID', `The JSONPath ${path} cannot be read from ${JSON.stringify(rest)} on`, {
      hint: "Write it as kubectl takes it, such as {.status.conditions[?(@.type=='Ready')].status}",
    })
  while (rest) {
    let taken: RegExpExecArray | null
    if (rest.startsWith('..')) {
      steps.push('deep')
      rest = rest.startsWith('..[') ? rest.slice(2) : rest.slice(1)
      continue
    }
    if (rest.startsWith('.*')) {
      steps.push('all')
      rest = rest.slice(2)
      continue
    }
    taken = bracketPattern.exec(rest)
    if (taken) {
      const [, single, double, index, star, from, to] = taken
      if (index !== undefined) steps.push({ index: Number(index) })
      else if (star) steps.push('all')
      else if (from !== undefined || to !== undefined) steps.push({ slice: [bound(from), bound(to)] })
      else steps.push({ field: (single ?? double ?? '').replaceAll(/\\(.)/g, '$1') })
      rest = rest.slice(taken[0].length)
      continue
    }
    taken = filterPattern.exec(rest)
    if (taken) {
      steps.push({ filter: filterOf(taken[1] ?? '', taken[2], taken[3], bad) })
      rest = rest.slice(taken[0].length)
      continue
    }
    const named = rest.startsWith('.') ? rest.slice(1) : steps.length === 0 ? rest : ''
    // kubectl lets a dot within a name be escaped: .metadata.labels.app\.kubernetes\.io/name
    taken = fieldPattern.exec(named.replaceAll('\\.', '\0'))
    if (!taken) throw bad()
    const field = taken[0].replaceAll('\0', '.')
    steps.push({ field })
    rest = named.slice(taken[0].replaceAll('\0', '\\.').length)
  }
  return steps
}

function bound(text: string | undefined): number | undefined {
  return text ? Number(text) : undefined
}

function filterOf(path: string, operator: string | undefined, literal: string | undefined, bad: () => Error) {
  if (operator === undefined || literal === undefined)
    return (item: unknown) => jsonPath(path, item).length > 0
  let expected: unknown
  if (/^'.*'$/s.test(literal)) expected = literal.slice(1, -1)
  else {
    try {
      expected = JSON.parse(literal)
    } catch {
      throw bad()
    }
  }
  return (item: unknown) => {
    const actual = jsonPath(path, item)[0] as string | number
    const limit = expected as string | number
    switch (operator) {
      case '==':
        return actual === limit
      case '!=':
        return actual !== limit
      case '<':
        return actual < limit
      case '>':
        return actual > limit
      case '<=':
        return actual <= limit
      default:
        return actual >= limit
    }
  }
}

function take(step: Step, value: unknown): unknown[] {
  if (typeof value !== 'object' || value === null) return []
  if (step === 'all') return Object.values(value)
  if (step === 'deep') return [value, ...Object.values(value).flatMap((child) => take(step, child))]
  if ('filter' in step) return Object.values(value).filter(step.filter)
  if ('slice' in step) return Array.isArray(value) ? value.slice(...step.slice) : []
  if ('index' in step) return Array.isArray(value) ? present(value.at(step.index)) : []
  return Object.hasOwn(value, step.field) ? present((value as Record<string, unknown>)[step.field]) : []
}

function present(value: unknown): unknown[] {
  return value === undefined ? [] : [value]
}
