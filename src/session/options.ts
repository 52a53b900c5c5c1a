import { createHash } from 'node:crypto'
import { isAbsolute, resolve } from 'node:path'
import { type Isolation, isolationNamed } from '../broker/index.ts'
import type { CreateClusterOptions } from '../cluster/index.ts'
import { MayflyError } from '../errors.ts'
import type { ImageSource } from '../images/index.ts'
import type { ManifestSource } from '../kube/index.ts'

/**
 * What a test run asks for: a cluster, what is on it before the first test, and what is kept when a test fails.
 *
 * @public
 */
export interface MayflyOptions
  extends Omit<CreateClusterOptions, 'signal' | 'onProgress' | 'onNodesStarted' | 'keep'> {
  /**
   * Images that every node has before the first test: references of the container engine, tar archives, or folders to
   * build, `{ build: 'app', tag: 'app:dev' }`. Paths start from the project's root.
   */
  images?: ImageSource[]
  /**
   * Manifests that are applied, and waited for, before the first test: files, folders, globs, kustomizations, objects,
   * functions. Paths start from the project's root.
   */
  manifests?: ManifestSource | ManifestSource[]
  /** Gives up when the manifests are not available after so many milliseconds; default 120 000. */
  manifestsTimeoutMs?: number
  /** What each test file has to itself; default `namespace`. A file chooses otherwise by `@mayfly-isolation` in its first comment. */
  isolation?: Isolation
  /**
   * Clusters at a time, the one included that files share; default: as many as the engine's host has processors, and
   * memory for. At least one file at a time gets a cluster of its own.
   */
  maxClusters?: number
  /** The namespace of a test that failed is not deleted, as long as the cluster lives; default false. */
  keepFailedNamespaces?: boolean
  /** Folder for what is known of failed tests, from the project's root; default `.mayfly`. */
  diagnosticsDir?: string
}

/** Options whose paths are absolute, so that they mean the same to whoever asks, and a key that tells equal ones. */
export interface SessionPlan {
  key: string
  root: string
  cluster: Omit<CreateClusterOptions, 'signal' | 'onProgress' | 'onNodesStarted' | 'keep'>
  images: ImageSource[]
  manifests: ManifestSource[]
  manifestsTimeoutMs: number
  isolation: Isolation
  maxClusters: number | undefined
  keepFailedNamespaces: boolean
  diagnosticsDir: string
}

/**
 * Completes options for a project whose paths start at `root`.
 *
 * @throws MayflyError `CONFIG_INVALID` for an `isolation` or `maxClusters` that is none
 */
export function planSession(options: MayflyOptions, root: string): SessionPlan {
  const {
    images = [],
    manifests = [],
    manifestsTimeoutMs = 120_000,
    isolation = 'namespace',
    maxClusters,
    keepFailedNamespaces = false,
    diagnosticsDir = '.mayfly',
    ...cluster
  } = options
  const config = typeof cluster.config === 'string' ? resolve(root, cluster.config) : cluster.config
  const from = typeof cluster.from === 'string' ? resolve(root, cluster.from) : cluster.from
  const plan = {
    root,
    cluster: { ...cluster, ...(config !== undefined && { config }), ...(from !== undefined && { from }) },
    images: images.map((image) => fromRoot(image, root)),
    manifests: (Array.isArray(manifests) ? manifests : [manifests]).map((source) => manifestAt(source, root)),
    manifestsTimeoutMs,
    isolation: isolationNamed(isolation, 'Option `isolation`'),
    maxClusters: checkedLimit(maxClusters),
    keepFailedNamespaces,
    diagnosticsDir: resolve(root, diagnosticsDir),
  }
  // These are a project's own: projects that differ in them only can share their clusters.
  const { root: _, diagnosticsDir: __, isolation: ___, keepFailedNamespaces: ____, ...deciding } = plan
  return { ...plan, key: createHash('sha256').update(stableText(deciding)).digest('hex') }
}

function checkedLimit(limit: number | undefined): number | undefined {
  if (limit === undefined || (Number.isInteger(limit) && limit > 0)) return limit
  throw new MayflyError('CONFIG_INVALID', `Option \`maxClusters\` is ${limit}`, {
    hint: 'Give a whole number from 1',
  })
}

function fromRoot(image: ImageSource, root: string): ImageSource {
  if (typeof image === 'string') return /\.(tar|tar\.gz|tgz)$/.test(image) ? resolve(root, image) : image
  if ('archive' in image) return { ...image, archive: resolve(root, image.archive) }
  if ('id' in image) return image
  const dockerfile = image.dockerfile === undefined ? {} : { dockerfile: resolve(root, image.dockerfile) }
  return { ...image, build: resolve(root, image.build), ...dockerfile }
}

function manifestAt(source: ManifestSource, root: string): ManifestSource {
  const isPath = typeof source === 'string' && !source.includes('\n') && !/^[a-z]{2,}:\/\//.test(source)
  return isPath && !isAbsolute(source) ? resolve(root, source) : source
}

const functionIds = new WeakMap<object, number>()
let functions = 0

/** JSON with keys in order. A function is equal to itself only: what it will return cannot be known. */
function stableText(value: unknown): string {
  return JSON.stringify(value, (_, field: unknown) => {
    if (typeof field === 'function') {
      if (!functionIds.has(field)) functionIds.set(field, ++functions)
      return `function ${functionIds.get(field)}`
    }
    return typeof field === 'object' && field !== null && !Array.isArray(field)
      ? Object.fromEntries(Object.entries(field).sort(([one], [other]) => (one < other ? -1 : 1)))
      : field
  })
}
