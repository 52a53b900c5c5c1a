import type { z } from 'zod'
import { crossCheck } from './checks.ts'
import { completeSpec, type Environment, mergeClusters, withAbsolutePaths } from './defaults.ts'
import { type ConfigFile, readConfigFile, withoutNulls } from './file.ts'
import type { ClusterOptions } from './options.ts'
import {
  configError,
  type FieldPath,
  formatPath,
  notAllowed,
  type Problem,
  problemsOf,
  valueAt,
} from './problems.ts'
import { fileSchema, imageField, inlineSchema, optionsSchema, type ParsedCluster } from './schema.ts'
import type { ClusterSpec } from './spec.ts'

/** What of the surroundings takes part; each field has the process's own as its default. */
export interface ResolveContext {
  /** Folder that relative paths of the options start from. Default: the current directory. */
  cwd?: string
  /** Environment for MAYFLY_NODE_IMAGE, HTTP_PROXY, HTTPS_PROXY and NO_PROXY. Default: the process's. */
  env?: Environment
  /** Names of fields of the options that the caller reads itself; they are not looked at. Default: none. */
  otherFields?: readonly string[]
}

/**
 * Turns options, together with the kind v1alpha4 file or object that they may name, into a complete ClusterSpec.
 *
 * @throws MayflyError `CONFIG_INVALID`, naming every problem in a line of its own; `CONFIG_UNREADABLE` when the file
 * of `options.config` cannot be read
 */
export async function resolveClusterSpec(
  options: ClusterOptions = {},
  { cwd = process.cwd(), env = process.env, otherFields = [] }: ResolveContext = {},
): Promise<ClusterSpec> {
  const fromOptions = validate(optionsSchema(otherFields), options)
  const fromConfig = await readConfig(valueAt(options, ['config']), cwd)

  const merged = mergeClusters(
    withAbsolutePaths(fromConfig.cluster, fromConfig.folder),
    withAbsolutePaths(fromOptions.cluster, cwd),
  )
  const spec = completeSpec(merged, env)

  const broken = [...fromOptions.problems, ...fromConfig.problems].map(({ path }) => path)
  const clashes = crossCheck(spec, nodesWithNames(merged)).filter(({ path }) => !restsOn(path, broken))
  const isFromConfig = ({ path }: Problem) => comesFromConfig(path, fromOptions.cluster, fromConfig.cluster)
  const lines = [
    ...[...fromOptions.problems, ...clashes.filter((problem) => !isFromConfig(problem))].map(optionLine),
    ...environmentProblems(env, merged),
    ...fromConfig.lines([...fromConfig.problems, ...clashes.filter(isFromConfig)]),
  ]
  if (lines.length > 0) throw configError(lines)
  return deepFreeze(structuredClone(spec))
}

interface Validated {
  /** What is valid; fields with problems are left out. */
  cluster: ParsedCluster
  problems: Problem[]
}

interface ReadConfig extends Validated {
  /** Where relative paths start. */
  folder: string
  /** Problems as lines for the error, in the order of their places. */
  lines(problems: Problem[]): string[]
}

async function readConfig(config: unknown, cwd: string): Promise<ReadConfig> {
  if (typeof config === 'string' && config !== '') {
    const file = await readConfigFile(config, cwd)
    return {
      ...validateFile(file),
      folder: file.folder,
      lines: (problems) => inFileOrder(file, problems),
    }
  }
  const isObject = typeof config === 'object' && config !== null && !Array.isArray(config)
  return {
    ...validate(inlineSchema, isObject ? withoutNulls(config) : {}),
    folder: cwd,
    lines: (problems) =>
      problems.map((problem) => optionLine({ ...problem, path: ['config', ...problem.path] })),
  }
}

function validate(schema: z.ZodType, input: unknown): Validated {
  const result = schema.safeParse(input, { reportInput: true })
  if (result.success) return { cluster: result.data as ParsedCluster, problems: [] }
  const problems = problemsOf(result.error, input)
  const rest = schema.safeParse(withoutFields(input, problems))
  return { cluster: (rest.success ? rest.data : {}) as ParsedCluster, problems }
}

/** Scalars are read as the types that their fields want before anything is called a problem. */
function validateFile(file: ConfigFile): Validated {
  const first = validate(fileSchema, file.content())
  const reread = first.problems.filter((problem) => file.reread(problem))
  return reread.length > 0 ? validate(fileSchema, file.content()) : first
}

/** A copy without the fields that have problems, so that the others can still be checked against each other. */
function withoutFields(input: unknown, problems: readonly Problem[]): unknown {
  if (typeof input !== 'object' || input === null) return {}
  let copy: object = { ...input }
  for (const { path } of problems) copy = without(copy, fieldOf(path)) as object
  return copy
}

function without(value: unknown, [key, ...rest]: FieldPath): unknown {
  // Positions of nodes must not shift: they are part of the names of fields.
  if (typeof value !== 'object' || value === null || key === undefined) return {}
  if (Array.isArray(value)) return value.map((item, index) => (index === key ? without(item, rest) : item))
  const { [key]: field, ...others } = value as Record<string | number, unknown>
  return rest.length > 0 ? { ...others, [key]: without(field, rest) } : others
}

/** The optional field that a path leads into: of a node, of the network or of the cluster. */
function fieldOf(path: FieldPath): FieldPath {
  const depth = path[0] === 'nodes' ? 3 : path[0] === 'networking' ? 2 : 1
  return path.slice(0, depth)
}

const subnetFields = ['networking.ipFamily', 'networking.podSubnet', 'networking.serviceSubnet']

/** Whether a clash is about a field that is broken itself, or about one that only makes sense with it. */
function restsOn(path: FieldPath, broken: readonly FieldPath[]): boolean {
  const field = formatPath(fieldOf(path))
  return broken.some((other) => {
    const brokenField = formatPath(fieldOf(other))
    if (subnetFields.includes(field) && subnetFields.includes(brokenField)) return true
    return field === brokenField || formatPath(path.slice(0, other.length)) === formatPath(other)
  })
}

function nodesWithNames({ nodes = [] }: ParsedCluster): Set<number> {
  return new Set([...nodes.keys()].filter((index) => nodes[index]?.name !== undefined))
}

/** Whether the value at a path of the merged configuration is the file's or inline object's. */
function comesFromConfig(path: FieldPath, options: ParsedCluster, config: ParsedCluster): boolean {
  const field = path.slice(0, path[0] === 'networking' ? 2 : 1)
  return valueAt(options, field) === undefined && valueAt(config, field) !== undefined
}

function environmentProblems(env: Environment, merged: ParsedCluster): string[] {
  const image = env['MAYFLY_NODE_IMAGE']
  const isUsed = image && !merged.image && (!merged.nodes?.length || merged.nodes.some((node) => !node.image))
  const [issue] = isUsed ? (imageField.safeParse(image).error?.issues ?? []) : []
  return issue ? [`MAYFLY_NODE_IMAGE of the environment ${notAllowed(image, issue.message)}`] : []
}

function optionLine(problem: Problem): string {
  const { path, reason, at } = problem
  return `${formatPath(path) || 'options'} ${reason}${at ? ` (line ${at.line}, column ${at.column})` : ''}`
}

function inFileOrder(file: ConfigFile, problems: Problem[]): string[] {
  return problems
    .map((problem) => ({ problem, place: file.place(problem) }))
    .sort(({ place: one }, { place: other }) => one.line - other.line || one.column - other.column)
    .map(
      ({ problem: { path, reason }, place }) => `${place.text}: ${formatPath(path) || 'the file'} ${reason}`,
    )
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    for (const field of Object.values(value)) deepFreeze(field)
    Object.freeze(value)
  }
  return value
}
