import { applyPatch, type Operation } from 'rfc6902'
import { parse, stringify, type TomlTable, type TomlValue } from 'smol-toml'
import { parse as parseYaml } from 'yaml'
import type { ClusterSpec } from '../config/index.ts'
import { type ContainerFile, type Engine, readFile } from '../engine/index.ts'
import { MayflyError } from '../errors.ts'

const configPath = '/etc/containerd/config.toml'
const crunPath = '/usr/local/bin/crun'
const registryDir = '/etc/containerd/certs.d'

type ContainerdOptions = Pick<
  ClusterSpec,
  'containerdConfigPatches' | 'containerdConfigPatchesJSON6902' | 'registryMirrors'
>

/**
 * The files that containerd's options ask for, for a container that was made and has not started: the image's own
 * configuration with the patches, and where to look for images of mirrored registries.
 *
 * @throws MayflyError `CONFIG_INVALID` when a patch does not apply, `NODE_IMAGE_UNFIT` when the image has no
 *   configuration to patch
 */
export async function containerdFiles(
  engine: Engine,
  container: string,
  options: ContainerdOptions,
): Promise<ContainerFile[]> {
  const mirrors = registryHostFiles(options.registryMirrors)
  const isPatched =
    options.containerdConfigPatches.length + options.containerdConfigPatchesJSON6902.length > 0
  if (!isPatched) return mirrors
  const ofImage = await readFile(engine, container, configPath)
  if (!ofImage) {
    throw new MayflyError('NODE_IMAGE_UNFIT', `The node image of ${container} has no ${configPath} to patch`)
  }
  return [...mirrors, { path: configPath, content: containerdConfig(String(ofImage), options), mode: 0o644 }]
}

/**
 * Patches a configuration of containerd's, as kind does: merge patches first, then JSON patches. A merge patch for
 * another `version` of the format is left out, so that one file can serve several node images.
 *
 * @throws MayflyError `CONFIG_INVALID` when a JSON patch does not apply
 */
export function containerdConfig(
  toml: string,
  options: Pick<ContainerdOptions, 'containerdConfigPatches' | 'containerdConfigPatchesJSON6902'>,
): string {
  let config = parse(toml)
  for (const text of options.containerdConfigPatches) {
    const patch = parse(text)
    const isForThis = patch['version'] === undefined || patch['version'] === config['version']
    if (isForThis) config = merge(config, patch)
  }
  for (const text of options.containerdConfigPatchesJSON6902) {
    const failed = applyPatch(config, parseYaml(text) as Operation[]).find((outcome) => outcome !== null)
    if (failed) {
      throw new MayflyError(
        'CONFIG_INVALID',
        `A containerdConfigPatchesJSON6902 entry does not apply: ${failed.message}`,
        { hint: "Change its path to one of the node image's configuration", output: stringify(config) },
      )
    }
  }
  return `${stringify(withFittingRuntime(config))}\n`
}

/** The node image's crun can't ask systemd for cgroups: where a patch wants that, containers are started by runc. */
function withFittingRuntime(config: TomlTable): TomlTable {
  const path = ['plugins', 'io.containerd.cri.v1.runtime', 'containerd', 'runtimes', 'runc', 'options']
  const options = path.reduce<TomlValue | undefined>(
    (table, name) => (isTable(table) ? table[name] : undefined),
    config,
  )
  if (isTable(options) && options['SystemdCgroup'] === true && options['BinaryName'] === crunPath)
    delete options['BinaryName']
  return config
}

/** Tables merge, all else replaces: TOML has no null to remove something with. */
function merge(target: TomlTable, change: TomlTable): TomlTable {
  const result = { ...target }
  for (const [name, value] of Object.entries(change)) {
    const before = result[name]
    result[name] = isTable(before) && isTable(value) ? merge(before, value) : value
  }
  return result
}

function isTable(value: unknown): value is TomlTable {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)
}

/**
 * One `hosts.toml` for each mirrored registry; the mirrors are asked in order, and the registry itself last.
 *
 * @see https://github.com/containerd/containerd/blob/main/docs/hosts.md
 */
export function registryHostFiles(mirrors: ClusterSpec['registryMirrors']): ContainerFile[] {
  return Object.entries(mirrors).map(([registry, urls]) => ({
    path: `${registryDir}/${registry === '*' ? '_default' : registry}/hosts.toml`,
    content: `${stringify({
      host: Object.fromEntries(urls.map((url) => [url, { capabilities: ['pull', 'resolve'] }])),
    })}\n`,
    mode: 0o644,
  }))
}
