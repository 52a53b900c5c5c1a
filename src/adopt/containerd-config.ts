import { parse, stringify, type TomlTable, type TomlValue } from 'smol-toml'

/**
 * containerd's configuration of another project's node image, with what a node of ours needs: cgroups written
 * directly, as the kubelet of every node does; no score for the kernel's memory killer that hosts without
 * CAP_SYS_RESOURCE refuse; mirrors of registries looked up where mayfly puts them. All else stays. Pure.
 *
 * @param toml Version 2 or 3 of the format
 * @see https://github.com/containerd/containerd/blob/main/docs/cri/config.md
 */
export function adoptedContainerdConfig(toml: string): string {
  const config = parse(toml)
  const plugins = tableIn(config, 'plugins')
  // Version 3 has what was one plugin as two.
  const [runtimePlugin, imagesPlugin] =
    config['version'] === 2
      ? ['io.containerd.grpc.v1.cri', 'io.containerd.grpc.v1.cri']
      : ['io.containerd.cri.v1.runtime', 'io.containerd.cri.v1.images']
  const runtime = tableIn(plugins, runtimePlugin)
  runtime['restrict_oom_score_adj'] = true
  const handlers = tableIn(tableIn(runtime, 'containerd'), 'runtimes')
  tableIn(handlers, 'runc')['runtime_type'] ??= 'io.containerd.runc.v2'
  for (const name of Object.keys(handlers)) {
    tableIn(tableIn(handlers, name), 'options')['SystemdCgroup'] = false
  }
  tableIn(tableIn(plugins, imagesPlugin), 'registry')['config_path'] ??= '/etc/containerd/certs.d'
  return `${stringify(config)}\n`
}

/** The table of a name, made where there is none. */
function tableIn(parent: TomlTable, name: string): TomlTable {
  const there = parent[name]
  if (isTable(there)) return there
  const made: TomlTable = {}
  parent[name] = made
  return made
}

function isTable(value: TomlValue | undefined): value is TomlTable {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)
}
