import { glob, readdir, readFile, stat } from 'node:fs/promises'
import { basename, dirname, extname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isDeepStrictEqual } from 'node:util'
import { LineCounter, parseAllDocuments, type YAMLParseError } from 'yaml'
import { MayflyError, messageOf } from '../errors.ts'
import { isKustomization, kustomizeOnHost } from './kustomize.ts'
import { didYouMean } from './near.ts'
import { type KubeObject, keyOf, nameOf } from './objects.ts'

/**
 * Where manifests come from:
 *
 * - a path of a file or a folder (its `.yaml`, `.yml` and `.json` files in the order of their names; not its
 *   subfolders), or a glob over paths;
 * - a folder with a `kustomization.yaml`, which is built by kustomize;
 * - a `file:` URL of any of these;
 * - YAML text, told from a path by its line breaks;
 * - an object, such as one of the types of `@kubernetes/client-node`;
 * - a function that returns, or promises, any of these or a list of them.
 *
 * @public
 */
export type ManifestSource =
  | string
  | URL
  | object
  | (() => ManifestSource | ManifestSource[] | Promise<ManifestSource | ManifestSource[]>)

/**
 * How manifests are loaded.
 *
 * @public
 */
export interface LoadManifestsOptions {
  /** What relative paths start from; default: the working directory. */
  cwd?: string
  /** Builds a kustomization folder into YAML text; default {@link kustomizeOnHost}, and an error where that has no program for it. */
  kustomize?: (folder: string) => Promise<string>
  signal?: AbortSignal
}

const extensions = new Set(['.yaml', '.yml', '.json'])
/** Whether a source is a path or a glob, and not YAML text or a URL. */
export function isManifestPath(source: ManifestSource): source is string {
  return typeof source === 'string' && !source.includes('\n') && !isUrl(source)
}

function isUrl(source: string): boolean {
  return /^[a-z]{2,}:\/\//.test(source)
}

const origins = new WeakMap<KubeObject, string>()

/** Where an object was loaded from, such as `config/web.yaml:12`. */
export function originOf(object: KubeObject): string | undefined {
  return origins.get(object)
}

/**
 * Loads manifests into objects, in the order of their sources. Lists are taken apart, empty documents left out, and what is given twice and
 * alike counts once.
 *
 * @throws MayflyError `MANIFEST_INVALID` with file and line, for what is no manifest, names no file, or is given twice and differs
 * @public
 */
export async function loadManifests(
  sources: ManifestSource | readonly ManifestSource[],
  { cwd = process.cwd(), kustomize, signal }: LoadManifestsOptions = {},
): Promise<KubeObject[]> {
  const context = {
    cwd: resolve(cwd),
    kustomize: kustomize ?? ((folder) => localKustomize(folder, signal)),
    signal,
  }
  return withoutRepeats(await loadAll(Array.isArray(sources) ? sources : [sources], context))
}

type Context = Required<Pick<LoadManifestsOptions, 'cwd' | 'kustomize'>> & { signal: AbortSignal | undefined }

async function loadAll(sources: ManifestSource[], context: Context): Promise<KubeObject[]> {
  const loaded: KubeObject[] = []
  for (const [index, source] of sources.entries()) {
    context.signal?.throwIfAborted()
    loaded.push(...(await load(source, index, context)))
  }
  return loaded
}

async function load(source: ManifestSource, index: number, context: Context): Promise<KubeObject[]> {
  if (Array.isArray(source)) return loadAll(source, context)
  if (typeof source === 'function') return loadAll([await source()], context)
  if (source instanceof URL) return loadUrl(source, context)
  if (typeof source === 'string') {
    if (source.includes('\n')) return parseManifests(source, 'inline YAML')
    return isUrl(source) ? loadUrl(new URL(source), context) : loadPath(source, context)
  }
  if (typeof source !== 'object' || source === null) {
    throw new MayflyError(
      'MANIFEST_INVALID',
      `Manifest ${index + 1} is ${JSON.stringify(source) ?? typeof source}`,
      {
        hint: 'Give a path, a glob, a file: URL, YAML text, an object or a function that returns one of these',
      },
    )
  }
  return flatten(source, `object ${index + 1} of the list`)
}

function loadUrl(url: URL, context: Context): Promise<KubeObject[]> {
  if (url.protocol !== 'file:') {
    throw new MayflyError('MANIFEST_INVALID', `Manifests are not fetched over the network: ${url.href}`, {
      hint: 'Download the file into the project and name its path: the tests then run offline, and on what was reviewed',
    })
  }
  return loadPath(fileURLToPath(url), context)
}

async function loadPath(path: string, context: Context): Promise<KubeObject[]> {
  const absolute = resolve(context.cwd, path)
  const found = await stat(absolute).catch(() => undefined)
  if (found?.isDirectory()) return loadFolder(absolute, context)
  if (found) return loadFile(absolute, context)
  if (/[*?[\]{}]/.test(path)) {
    const matches: string[] = []
    for await (const match of glob(path, { cwd: context.cwd })) matches.push(match)
    if (matches.length > 0) return loadAll(matches.sort(), context)
    throw new MayflyError('MANIFEST_INVALID', `No file matches ${path} in ${context.cwd}`)
  }
  throw new MayflyError('MANIFEST_INVALID', `There is no manifest ${path} in ${context.cwd}`, {
    hint: await nearbyHint(absolute, context),
  })
}

async function nearbyHint(absolute: string, { cwd }: Context): Promise<string> {
  const folder = dirname(absolute)
  const entries = await readdir(folder).catch(() => undefined)
  const shown = relative(cwd, folder) || '.'
  if (!entries) return `The folder ${shown} does not exist either; relative paths start from ${cwd}`
  const near = didYouMean(relative(folder, absolute), entries)
  return (
    near ??
    `The folder ${shown} has ${entries.length > 0 ? entries.sort().slice(0, 10).join(', ') : 'nothing in it'}`
  )
}

async function loadFolder(folder: string, context: Context): Promise<KubeObject[]> {
  const shown = relative(context.cwd, folder) || '.'
  const entries = await readdir(folder, { withFileTypes: true })
  if (entries.some((entry) => isKustomization(entry.name))) {
    return parseManifests(await context.kustomize(folder), `kustomize build ${shown}`)
  }
  const files = entries
    .filter((entry) => !entry.isDirectory() && extensions.has(extname(entry.name)))
    .map((entry) => entry.name)
  if (files.length === 0) {
    throw new MayflyError('MANIFEST_INVALID', `The folder ${shown} has no .yaml, .yml or .json file`, {
      ...(entries.some((entry) => entry.isDirectory()) && {
        hint: `Its subfolders are not looked into; name them with ${join(shown, '**/*.yaml')}`,
      }),
    })
  }
  return loadAll(
    files.sort().map((file) => join(folder, file)),
    context,
  )
}

async function loadFile(file: string, { cwd }: Context): Promise<KubeObject[]> {
  const shown = relative(cwd, file)
  if (isKustomization(basename(file))) {
    throw new MayflyError('MANIFEST_INVALID', `${shown} is a kustomization, not a manifest`, {
      hint: `Name its folder, ${dirname(shown)}, to have it built`,
    })
  }
  return parseManifests(await readFile(file, 'utf8'), shown)
}

/**
 * Takes text with any number of YAML or JSON documents apart into objects. Scalars are read as kubectl reads them, which is YAML 1.1
 * without dates and base-60 numbers: `0644` is octal, `yes` a boolean, `22:22` a string.
 *
 * @param origin What the text came from, for errors
 * @throws MayflyError `MANIFEST_INVALID` with `origin:line`
 * @public
 */
export function parseManifests(text: string, origin: string): KubeObject[] {
  const lineCounter = new LineCounter()
  const documents = parseAllDocuments(text, {
    lineCounter,
    version: '1.1',
    customTags: (tags) =>
      tags.filter(
        (tag) =>
          typeof tag === 'string' || (tag.format !== 'TIME' && tag.tag !== 'tag:yaml.org,2002:timestamp'),
      ),
  })
  if (!Array.isArray(documents)) return []
  return documents.flatMap((document) => {
    const [error] = document.errors
    if (error) throw invalidYaml(error, text, origin)
    const line = lineCounter.linePos(document.contents?.range?.[0] ?? 0).line
    let value: unknown
    try {
      value = document.toJS({ maxAliasCount: 10_000 })
    } catch (cause) {
      throw new MayflyError('MANIFEST_INVALID', `${origin}:${line} is not valid YAML: ${messageOf(cause)}`, {
        cause,
      })
    }
    return value === null || value === undefined ? [] : flatten(value, `${origin}:${line}`)
  })
}

function invalidYaml(error: YAMLParseError, text: string, origin: string): MayflyError {
  const line = error.linePos?.[0].line ?? 1
  const [problem = '', ...excerpt] = error.message.split('\n')
  const isTemplate = text.split('\n')[line - 1]?.includes('{{')
  return new MayflyError(
    'MANIFEST_INVALID',
    `${origin}:${line} is not valid YAML: ${problem.replace(/ at line .*/, '')}`,
    {
      output: excerpt.join('\n'),
      ...(isTemplate && {
        hint: 'This is a template: give what it renders to, or a function that renders it',
      }),
    },
  )
}

/** The object, or the objects of a `List`, checked for what every object must have. */
function flatten(value: unknown, origin: string): KubeObject[] {
  if (Array.isArray(value))
    return value.flatMap((item, index) => flatten(item, `${origin}, item ${index + 1}`))
  if (typeof value !== 'object' || value === null) {
    throw new MayflyError('MANIFEST_INVALID', `${origin} is no object but ${JSON.stringify(value)}`)
  }
  const { apiVersion, kind, metadata, items } = value as Partial<KubeObject> & { items?: unknown }
  const named = [kind, metadata?.name].filter((part) => typeof part === 'string').join(' ') || 'the object'
  if (!isText(apiVersion)) throw missing(origin, named, 'apiVersion', apiVersion, 'apps/v1')
  if (!isText(kind)) throw missing(origin, named, 'kind', kind, 'Deployment')
  if (Array.isArray(items) && kind.endsWith('List')) {
    return items.flatMap((item, index) => {
      const own =
        kind === 'List' || typeof item !== 'object' ? item : { apiVersion, kind: kind.slice(0, -4), ...item }
      return flatten(own, `${origin}, item ${index + 1}`)
    })
  }
  if (!isText(metadata?.name)) throw missing(origin, named, 'metadata.name', metadata?.name, 'web')
  const object = value as KubeObject
  origins.set(object, origin)
  return [object]
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}

function missing(origin: string, named: string, field: string, seen: unknown, example: string): MayflyError {
  const problem =
    seen === undefined || seen === null ? `has no ${field}` : `has ${JSON.stringify(seen)} as ${field}`
  return new MayflyError('MANIFEST_INVALID', `${origin}: ${named} ${problem}`, {
    hint: `Set ${field}, such as ${example}`,
  })
}

function withoutRepeats(objects: KubeObject[]): KubeObject[] {
  const first = new Map<string, KubeObject>()
  for (const object of objects) {
    const earlier = first.get(keyOf(object))
    if (earlier && !isDeepStrictEqual(earlier, object)) {
      throw new MayflyError(
        'MANIFEST_INVALID',
        `${nameOf(object)} is given twice, and not alike: ${originOf(earlier)} and ${originOf(object)}`,
        {
          hint: 'Leave one of them out',
        },
      )
    }
    if (!earlier) first.set(keyOf(object), object)
  }
  return [...first.values()]
}

async function localKustomize(folder: string, signal: AbortSignal | undefined): Promise<string> {
  const built = await kustomizeOnHost(folder, signal)
  if (built !== undefined) return built
  throw new MayflyError(
    'MANIFEST_INVALID',
    `The kustomization ${folder} cannot be built: neither kubectl nor kustomize is in the PATH`,
    { hint: 'Install kubectl, or give the built YAML' },
  )
}
