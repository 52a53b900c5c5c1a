import { parse } from 'smol-toml'
import { expect, test } from 'vitest'
import { containerdConfig, registryHostFiles } from '../../src/boot/containerd-config.ts'

const ofImage = `
version = 3
disabled_plugins = ["a", "b"]

[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
`

const none = { containerdConfigPatches: [], containerdConfigPatchesJSON6902: [] }

test('merge patches: tables merge, all else is replaced', () => {
  const containerdConfigPatches = [
    'disabled_plugins = ["c"]\n[plugins."io.containerd.cri.v1.images"]\nmax_concurrent_downloads = 1\n',
    '[plugins."io.containerd.cri.v1.images"]\nmax_concurrent_downloads = 2\n',
  ]
  expect(parse(containerdConfig(ofImage, { ...none, containerdConfigPatches }))).toEqual({
    version: 3,
    disabled_plugins: ['c'],
    plugins: { 'io.containerd.cri.v1.images': { snapshotter: 'overlayfs', max_concurrent_downloads: 2 } },
  })
})

test('a patch for another version of the format is left out', () => {
  const containerdConfigPatches = ['version = 2\nroot = "/two"', 'version = 3\nstate = "/three"']
  const patched = parse(containerdConfig(ofImage, { ...none, containerdConfigPatches }))
  expect(patched).not.toHaveProperty('root')
  expect(patched).toHaveProperty('state', '/three')
})

test('JSON patches, after the merge patches, as JSON or YAML', () => {
  const patched = containerdConfig(ofImage, {
    containerdConfigPatches: ['[debug]\nlevel = "info"'],
    containerdConfigPatchesJSON6902: [
      '[{"op": "replace", "path": "/debug/level", "value": "debug"}]',
      '- {op: remove, path: /disabled_plugins/0}',
    ],
  })
  expect(parse(patched)).toMatchObject({ debug: { level: 'debug' }, disabled_plugins: ['b'] })
})

test('a JSON patch that does not apply is an error that shows the configuration', () => {
  const containerdConfigPatchesJSON6902 = ['[{"op": "remove", "path": "/no/such"}]']
  expect(() => containerdConfig(ofImage, { ...none, containerdConfigPatchesJSON6902 })).toThrow(
    expect.objectContaining({ code: 'CONFIG_INVALID', output: expect.stringContaining('overlayfs') }),
  )
})

test('mirrors: a file for each registry, the mirrors in their order', () => {
  const files = registryHostFiles({ 'docker.io': ['http://b:5000', 'https://a/path'], '*': ['http://c'] })
  expect(files.map((file) => ('content' in file ? [file.path, parse(String(file.content))] : []))).toEqual([
    [
      '/etc/containerd/certs.d/docker.io/hosts.toml',
      {
        host: {
          'http://b:5000': { capabilities: ['pull', 'resolve'] },
          'https://a/path': { capabilities: ['pull', 'resolve'] },
        },
      },
    ],
    [
      '/etc/containerd/certs.d/_default/hosts.toml',
      { host: { 'http://c': { capabilities: ['pull', 'resolve'] } } },
    ],
  ])
  const [first] = files
  // TOML has no order of tables by itself; containerd goes by the order in the file.
  expect(first && 'content' in first && String(first.content)).toMatch(/b:5000[\s\S]*a\/path/)
})

test("containers are started by runc where a patch wants systemd's cgroups, which crun can't ask for", () => {
  const options = '[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]\n'
  const image = `${options}BinaryName = "/usr/local/bin/crun"\n`
  const patched = (patch: string) =>
    containerdConfig(image, { ...none, containerdConfigPatches: [options + patch] })
  expect(patched('SystemdCgroup = true')).not.toContain('BinaryName')
  expect(patched('SystemdCgroup = false')).toContain('crun')
  expect(patched('SystemdCgroup = true\nBinaryName = "/bin/own"')).toContain('/bin/own')
})
