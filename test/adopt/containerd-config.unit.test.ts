import { parse } from 'smol-toml'
import { expect, test } from 'vitest'
import { adoptedContainerdConfig } from '../../src/adopt/containerd-config.ts'

const ofKind = `
version = 2

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.k8s.io/pause:3.10"
  restrict_oom_score_adj = false

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  base_runtime_spec = "/etc/containerd/cri-base.json"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
    SystemdCgroup = true

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.test-handler.options]
  SystemdCgroup = true
`

test('in version 2, every runtime writes cgroups directly, and all else stays', () => {
  expect(parse(adoptedContainerdConfig(ofKind))).toEqual({
    version: 2,
    plugins: {
      'io.containerd.grpc.v1.cri': {
        sandbox_image: 'registry.k8s.io/pause:3.10',
        restrict_oom_score_adj: true,
        containerd: {
          runtimes: {
            runc: {
              runtime_type: 'io.containerd.runc.v2',
              base_runtime_spec: '/etc/containerd/cri-base.json',
              options: { SystemdCgroup: false },
            },
            'test-handler': { options: { SystemdCgroup: false } },
          },
        },
        registry: { config_path: '/etc/containerd/certs.d' },
      },
    },
  })
})

test('in version 3, which has runtimes and registries in plugins of their own', () => {
  const { plugins } = parse(adoptedContainerdConfig('version = 3')) as { plugins: object }
  expect(plugins).toEqual({
    'io.containerd.cri.v1.runtime': {
      restrict_oom_score_adj: true,
      containerd: {
        runtimes: { runc: { runtime_type: 'io.containerd.runc.v2', options: { SystemdCgroup: false } } },
      },
    },
    'io.containerd.cri.v1.images': { registry: { config_path: '/etc/containerd/certs.d' } },
  })
})

test('a folder for mirrors that the image has chosen is left to it', () => {
  const own = 'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "/elsewhere"'
  expect(parse(adoptedContainerdConfig(own))).toHaveProperty(
    ['plugins', 'io.containerd.grpc.v1.cri', 'registry', 'config_path'],
    '/elsewhere',
  )
})
