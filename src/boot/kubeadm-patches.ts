import { applyPatch, type Operation } from 'rfc6902'
import { parseAllDocuments, stringify } from 'yaml'
import type { NodeSpec } from '../config/index.ts'
import { MayflyError } from '../errors.ts'

/** A document of kubeadm's configuration. */
export type Document = Record<string, unknown> & { kind: string; apiVersion: string }

/** Merge and JSON patches, as a cluster and its nodes have them. */
export type Patches = Pick<NodeSpec, 'kubeadmConfigPatches' | 'kubeadmConfigPatchesJSON6902'>

/**
 * Applies the patches of the cluster, then those of the node, as kind does.
 *
 * @throws MayflyError `CONFIG_INVALID` when a JSON patch does not apply
 */
export function patch(document: Document, ...sources: readonly Patches[]): Document {
  let patched = document
  for (const text of sources.flatMap(({ kubeadmConfigPatches }) => kubeadmConfigPatches)) {
    for (const change of parseAllDocuments(text).map((parsed) => parsed.toJS() as Document)) {
      if (change?.kind !== document.kind) continue
      // A patch written for another version of the API is for this document all the same.
      patched = { ...(merge(patched, change) as Document), apiVersion: document.apiVersion }
    }
  }
  for (const json of sources.flatMap(({ kubeadmConfigPatchesJSON6902 }) => kubeadmConfigPatchesJSON6902)) {
    const [group, version] = document.apiVersion.split('/')
    const applies =
      json.kind === document.kind && (!json.version || (json.group === group && json.version === version))
    if (applies) patched = patchJson(patched, json.patch, json.kind)
  }
  return patched
}

function patchJson(document: Document, operations: readonly Operation[], kind: string): Document {
  const copy = structuredClone(document)
  const failed = applyPatch(copy, structuredClone([...operations])).find((outcome) => outcome !== null)
  if (failed) {
    throw new MayflyError(
      'CONFIG_INVALID',
      `A kubeadmConfigPatchesJSON6902 entry does not apply to ${kind}: ${failed.message}`,
      { hint: 'Change its path to one of this document', output: stringify(document) },
    )
  }
  return copy
}

/** A merge patch, by RFC 7386: objects merge, `null` removes, all else replaces. */
function merge(target: unknown, change: unknown, field = ''): unknown {
  if (!isObject(change)) return change
  if (/^(kubeletE|e)xtraArgs$/.test(field)) return mergeArguments(target, change)
  const result: Record<string, unknown> = isObject(target) ? { ...target } : {}
  for (const [name, value] of Object.entries(change)) {
    if (value === null) delete result[name]
    else result[name] = merge(result[name], value, name)
  }
  return result
}

/** A flag in kubeadm's configuration since v1beta4. */
export interface Argument {
  name: string
  value: string
}

/** Patches written for kubeadm up to v1beta3 have flags as a map, which merges with the list that v1beta4 has. */
function mergeArguments(target: unknown, change: Record<string, unknown>): Argument[] {
  const others = argumentsOf(target).filter(({ name }) => !Object.hasOwn(change, name))
  const given = Object.entries(change).flatMap(([name, value]) =>
    value === null ? [] : [{ name, value: String(value) }],
  )
  return [...others, ...given]
}

/** The flags of a component; none where a patch left something else than a list. */
export function argumentsOf(list: unknown): Argument[] {
  return Array.isArray(list) ? (list as Argument[]) : []
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
