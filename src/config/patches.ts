import type { Operation } from 'rfc6902'
import { parse as parseToml, TomlError } from 'smol-toml'
import { LineCounter, parseAllDocuments } from 'yaml'
import { nearest } from './nearest.ts'

/** A place in a text, both numbers starting at 1. */
export interface TextPosition {
  line: number
  column: number
}

/** What is wrong with a patch, as it reads after the field's name, and where in the patch's text. */
export interface PatchFault {
  reason: string
  at?: TextPosition
}

/** Kinds in a generated kubeadm configuration, with their API groups. A patch for any other kind never applies. */
const kubeadmDocuments: Record<string, string> = {
  ClusterConfiguration: 'kubeadm.k8s.io',
  InitConfiguration: 'kubeadm.k8s.io',
  JoinConfiguration: 'kubeadm.k8s.io',
  KubeletConfiguration: 'kubelet.config.k8s.io',
  KubeProxyConfiguration: 'kubeproxy.config.k8s.io',
}

const operationMembers: Record<Operation['op'], readonly ('value' | 'from')[]> = {
  add: ['value'],
  remove: [],
  replace: ['value'],
  move: ['from'],
  copy: ['from'],
  test: ['value'],
}

/** What is wrong with a merge patch for the kubeadm configuration: YAML, one document, of a kind that occurs there. */
export function kubeadmPatchFault(text: string): PatchFault | undefined {
  const { value, fault } = parseOneYamlDocument(text)
  if (fault) return fault
  if (!isRecord(value))
    return { reason: 'is not a YAML map; allowed: an object with "kind" and the fields to merge' }
  return kubeadmTargetFault(value['kind'], value['apiVersion'])
}

/**
 * What is wrong with the target of a patch for the kubeadm configuration. Without `apiVersion` it is for any.
 */
export function kubeadmTargetFault(kind: unknown, apiVersion?: unknown): PatchFault | undefined {
  const kinds = Object.keys(kubeadmDocuments)
  if (typeof kind !== 'string' || !Object.hasOwn(kubeadmDocuments, kind)) {
    const guess = typeof kind === 'string' && nearest(kind, kinds)
    return {
      reason:
        (kind === undefined ? 'has no "kind"' : `has "kind" ${JSON.stringify(kind)}`) +
        `; allowed: ${kinds.join(', ')}${guess ? `; did you mean "${guess}"?` : ''}`,
    }
  }
  const group = kubeadmDocuments[kind]
  if (apiVersion === undefined || (typeof apiVersion === 'string' && apiVersion.startsWith(`${group}/v`)))
    return undefined
  return {
    reason: `has "apiVersion" ${JSON.stringify(apiVersion)} for kind ${kind}; allowed: ${group}/VERSION, or none`,
  }
}

/** What is wrong with a TOML merge patch. */
export function tomlPatchFault(text: string): PatchFault | undefined {
  try {
    parseToml(text)
    return undefined
  } catch (thrown) {
    if (!(thrown instanceof TomlError)) throw thrown
    const [message = ''] = thrown.message.replace(/^Invalid TOML document: /, '').split('\n')
    return { reason: `is not TOML: ${message}`, at: { line: thrown.line, column: thrown.column } }
  }
}

/** The operations of a JSON patch (RFC 6902) given as JSON or YAML text, or as a list already. */
export function parseJsonPatch(patch: unknown): { operations: Operation[] } | { fault: PatchFault } {
  if (typeof patch !== 'string') return checkOperations(patch)
  const { value, fault } = parseOneYamlDocument(patch)
  return fault ? { fault } : checkOperations(value)
}

function checkOperations(value: unknown): { operations: Operation[] } | { fault: PatchFault } {
  if (!Array.isArray(value)) return { fault: { reason: 'is not a list of operations (RFC 6902)' } }
  for (const [index, operation] of value.entries()) {
    const reason = operationFault(operation)
    if (reason) return { fault: { reason: `operation ${index + 1}: ${reason}` } }
  }
  return { operations: value }
}

function operationFault(operation: unknown): string | undefined {
  if (!isRecord(operation)) return 'is not an object'
  const names = Object.keys(operationMembers)
  const { op } = operation
  if (typeof op !== 'string' || !Object.hasOwn(operationMembers, op)) {
    const guess = typeof op === 'string' && nearest(op, names)
    return `"op" is ${JSON.stringify(op) ?? 'missing'}; allowed: ${names.join(', ')}${guess ? `; did you mean "${guess}"?` : ''}`
  }
  const members = operationMembers[op as Operation['op']]
  for (const pointer of ['path', ...members.filter((member) => member === 'from')]) {
    const seen = operation[pointer]
    if (typeof seen !== 'string' || !/^(\/([^~]|~[01])*)?$/.test(seen)) {
      return `"${pointer}" is ${JSON.stringify(seen) ?? 'missing'}; allowed: a JSON pointer such as /spec/replicas`
    }
  }
  if (members.includes('value') && operation['value'] === undefined)
    return `"value" is missing, which "${op}" needs`
  return undefined
}

function parseOneYamlDocument(text: string): { value?: unknown; fault?: PatchFault } {
  const lines = new LineCounter()
  const documents = parseAllDocuments(text, { lineCounter: lines, prettyErrors: false })
  for (const { errors } of documents) {
    const [error] = errors
    if (error) {
      // What is missing at the end is missing after the last word, not after the line break.
      const { line, col } = lines.linePos(Math.min(error.pos[0], text.trimEnd().length))
      return { fault: { reason: `is not YAML: ${error.message}`, at: { line, column: col } } }
    }
  }
  const [document, ...others] = documents.filter(({ contents }) => contents !== null)
  // kind reads the first document only and says nothing of the others.
  if (others.length > 0) return { fault: { reason: `has ${others.length + 1} YAML documents; allowed: one` } }
  return document ? { value: document.toJS() } : { fault: { reason: 'is empty' } }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
