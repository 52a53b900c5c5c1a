import { inspect, isDeepStrictEqual } from 'node:util'

/**
 * One place where a live object is not as expected.
 *
 * @public
 */
export interface Difference {
  /** Such as `.spec.template.spec.containers[name=app].image`. */
  path: string
  expected: unknown
  /** `undefined` where there is nothing. */
  actual: unknown
}

/** The fields by which Kubernetes itself tells the items of a list apart, the most telling first. */
const itemKeys = [
  'name',
  'type',
  'key',
  'containerPort',
  'port',
  'mountPath',
  'devicePath',
  'ip',
  'topologyKey',
  'uid',
]

/**
 * Compares an object with the part of it that matters, as `toMatchObject` does: what `expected` does not mention may
 * be anything. Lists whose items have a name (or type, key, port, ...) are matched by it, in any order, and may have further items; any other
 * list must be as long and in the same order. An expected `undefined` means that there is nothing. Matchers such as
 * `expect.any(String)` and regular expressions are obeyed at any place.
 *
 * @returns The differences, in the order of `expected`; none when it matches
 * @public
 */
export function partialDiff(expected: unknown, actual: unknown): Difference[] {
  return compare(expected, actual, '')
}

/**
 * Differences as text, a path and two lines each:
 *
 * ```
 * .spec.replicas
 *   - 3
 *   + 2
 * ```
 *
 * @public
 */
export function formatDifferences(differences: readonly Difference[]): string {
  return differences
    .map(
      ({ path, expected, actual }) =>
        `${path || '(the object)'}\n${sided('-', expected)}\n${sided('+', actual)}`,
    )
    .join('\n')
}

function compare(expected: unknown, actual: unknown, path: string): Difference[] {
  const differs: Difference[] = [{ path, expected, actual }]
  if (isMatcher(expected)) return expected.asymmetricMatch(actual) ? [] : differs
  if (expected instanceof RegExp) return typeof actual === 'string' && expected.test(actual) ? [] : differs
  // The API has dates as text; typed clients make Dates of it.
  if (expected instanceof Date || actual instanceof Date) return sameTime(expected, actual) ? [] : differs
  if (Array.isArray(expected)) return Array.isArray(actual) ? compareLists(expected, actual, path) : differs
  if (!isRecord(expected)) return isDeepStrictEqual(expected, actual) ? [] : differs
  if (!isRecord(actual)) return differs
  return Object.entries(expected).flatMap(([field, value]) =>
    compare(value, actual[field], path + fieldPath(field)),
  )
}

function compareLists(expected: unknown[], actual: unknown[], path: string): Difference[] {
  const key = itemKeys.find((candidate) => isKeyed(expected, candidate) && isKeyed(actual, candidate))
  if (key) {
    return expected.flatMap((item) => {
      const value = (item as Record<string, unknown>)[key]
      const counterpart = actual.find((one) => (one as Record<string, unknown>)[key] === value)
      return compare(item, counterpart, `${path}[${key}=${value}]`)
    })
  }
  if (expected.length !== actual.length) return [{ path, expected, actual }]
  return expected.flatMap((item, index) => compare(item, actual[index], `${path}[${index}]`))
}

/** Whether every item has the field as plain text or number, and no two the same. */
function isKeyed(list: unknown[], key: string): boolean {
  const values = list.map((item) => (isRecord(item) ? item[key] : undefined))
  return (
    list.length > 0 &&
    values.every((value) => typeof value === 'string' || typeof value === 'number') &&
    new Set(values).size === values.length
  )
}

/** What `expect.any(String)` and its like are, in Vitest and in Jest. */
interface Matcher {
  asymmetricMatch(actual: unknown): boolean
  /** Says what it matches, such as `Any<String>`. */
  toAsymmetricMatcher?(): string
}

function isMatcher(value: unknown): value is Matcher {
  return (
    typeof value === 'object' &&
    value !== null &&
    'asymmetricMatch' in value &&
    typeof value.asymmetricMatch === 'function'
  )
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function sameTime(a: unknown, b: unknown): boolean {
  return new Date(a as string).getTime() === new Date(b as string).getTime()
}

function fieldPath(field: string): string {
  return /^[\w-]+$/.test(field) ? `.${field}` : `[${JSON.stringify(field)}]`
}

function sided(side: '-' | '+', value: unknown): string {
  return shown(value).replaceAll(/^/gm, `  ${side} `)
}

function shown(value: unknown): string {
  if (value === undefined) return '(nothing)'
  if (isMatcher(value)) return value.toAsymmetricMatcher?.() ?? String(value)
  return inspect(value, { depth: 6, breakLength: 100 })
}
