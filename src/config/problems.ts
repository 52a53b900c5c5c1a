import type { z } from 'zod'
import { MayflyError } from '../errors.ts'
import { nearest } from './nearest.ts'
import type { TextPosition } from './patches.ts'
import type { IssueParams } from './schema.ts'

/** The way from a configuration's root to a field. */
export type FieldPath = readonly (string | number)[]

/** One thing that is wrong with a configuration. */
export interface Problem {
  path: FieldPath
  /** The rest of a sentence that begins with the field's name. */
  reason: string
  /** Whether the field's name is wrong rather than its value. */
  inKey?: boolean
  /** Where inside the field's text, when that has a syntax of its own. */
  at?: TextPosition
  /** What the field wants, when a scalar of another type stands there. */
  wants?: 'text' | 'flag'
}

/** Puts what zod found into words, with the values seen. */
export function problemsOf(error: z.ZodError, input: unknown): Problem[] {
  return error.issues.flatMap((issue) => problemsOfIssue(issue, input, []))
}

function problemsOfIssue(issue: z.core.$ZodIssue, input: unknown, parent: FieldPath): Problem[] {
  const path = [...parent, ...issue.path.map((key) => (typeof key === 'symbol' ? String(key) : key))]
  // A node given as a word is looked at as an object: what zod saw is not always what stands at the path.
  const seen = 'input' in issue ? issue.input : valueAt(input, path)
  switch (issue.code) {
    case 'unrecognized_keys': {
      const known = issue.message.split(', ')
      return issue.keys.map((key) => {
        const guess = nearest(key, known)
        const advice = guess ? `did you mean "${guess}"?` : `known here: ${issue.message}`
        return { path: [...path, key], inKey: true, reason: `is not a known field; ${advice}` }
      })
    }
    case 'invalid_value':
      return [
        { path, reason: notAllowed(seen, issue.values.map(String).join(', '), issue.values.map(String)) },
      ]
    case 'invalid_key':
      return [{ path, inKey: true, reason: `is not a valid key; allowed: ${issue.issues[0]?.message ?? ''}` }]
    case 'invalid_union': {
      // The member that got furthest into the value is the one that was meant.
      const meant = issue.errors.find((issues) =>
        issues.some(({ path: inner, code }) => inner.length > 0 || code === 'unrecognized_keys'),
      )
      if (meant) return meant.flatMap((inner) => problemsOfIssue(inner, input, path))
      return [{ path, reason: notAllowed(seen, issue.message) }]
    }
    case 'custom': {
      const { fault, wants } = (issue.params ?? {}) as IssueParams
      if (fault) return [{ path, ...fault }]
      return [{ path, reason: notAllowed(seen, issue.message), ...(wants && { wants }) }]
    }
    default:
      return [{ path, reason: notAllowed(seen, issue.message) }]
  }
}

/** The value seen, what is allowed, and the allowed word that was probably meant. */
export function notAllowed(seen: unknown, allowed: string, words: readonly string[] = []): string {
  const guess = typeof seen === 'string' ? nearest(seen, words) : undefined
  return `is ${describe(seen)}; allowed: ${allowed}${guess ? `; did you mean "${guess}"?` : ''}`
}

function describe(value: unknown): string {
  if (value === undefined) return 'missing'
  if (Array.isArray(value) && value.some((item) => typeof item !== 'string')) return 'a list'
  if (typeof value === 'function') return 'a function'
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return 'an object'
  // What is seen may be a URL with a password, and errors end up in logs.
  const text = (
    typeof value === 'string' || Array.isArray(value) ? JSON.stringify(value) : String(value)
  ).replace(/(:\/\/[^\s/@:]*):[^\s/@]*@/g, '$1:***@')
  return text.length > 70 ? `${text.slice(0, 66)}…` : text
}

/** What stands at a path, undefined where it ends early. */
export function valueAt(root: unknown, path: FieldPath): unknown {
  return path.reduce<unknown>(
    (value, key) =>
      typeof value === 'object' && value !== null
        ? (value as Record<string | number, unknown>)[key]
        : undefined,
    root,
  )
}

/** A path as one writes it in TypeScript: `nodes[1].labels["a/b"]`. */
export function formatPath(path: FieldPath): string {
  return path
    .map((key, index) => {
      if (typeof key === 'number') return `[${key}]`
      if (!/^[A-Za-z_$][\w$]*$/.test(key)) return `[${JSON.stringify(key)}]`
      return index === 0 ? key : `.${key}`
    })
    .join('')
}

/** The error that tells all problems at once, a line each. */
export function configError(lines: readonly string[]): MayflyError {
  const count = lines.length === 1 ? 'a problem' : `${lines.length} problems`
  return new MayflyError(
    'CONFIG_INVALID',
    [`The cluster configuration has ${count}:`, ...lines.map((line) => `  ${line}`)].join('\n'),
  )
}
