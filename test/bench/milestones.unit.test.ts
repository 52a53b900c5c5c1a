import { expect, test } from 'vitest'
import { waterfall } from '../../bench/trace/milestones.ts'

const begun = Date.parse('2026-01-01T12:00:00.000Z')
const node = 'mayfly-1-control-plane'

function journal(...lines: [ms: number, text: string][]): string {
  return lines
    .map(([ms, text]) => `2026-01-01T12:00:0${(ms / 1000).toFixed(6)}+0000 ${node} ${text}`)
    .join('\n')
}

function containerd(message: string): string {
  return `containerd[35]: time="2026-01-01T12:00:00Z" level=info msg="${message.replaceAll('"', '\\"')}"`
}

const boot = {
  begun,
  usable: begun + 5000,
  sightings: [
    { at: begun + 300, what: 'container started' },
    { at: begun + 2600, what: 'readyz' },
    { at: begun + 3000, what: 'Ready', name: node },
    { at: begun + 2900, what: 'Ready', name: `kube-apiserver-${node}` }, // and then not
    { at: begun + 3100, what: 'Ready', name: `kube-apiserver-${node}` },
  ],
  cpu: [{ at: begun + 100, busy: 0.5 }],
  journal: journal(
    [800, 'systemd[1]: Reached target basic.target - Basic System.'],
    [900, containerd('containerd successfully booted in 0.069739s')],
    [1000, containerd(`RunPodSandbox for name:"kube-apiserver-${node}" uid:"1" namespace:"kube-system"`)],
    [
      1150,
      containerd(
        `RunPodSandbox for name:"kube-apiserver-${node}" uid:"1" namespace:"kube-system" returns sandbox id "2ab5"`,
      ),
    ],
    [1160, containerd('CreateContainer within sandbox "2ab5" for container name:"kube-apiserver"')],
    [
      1180,
      containerd(
        'CreateContainer within sandbox "2ab5" for name:"kube-apiserver" returns container id "49e8"',
      ),
    ],
    [1300, containerd('StartContainer for "49e8" returns successfully')],
    [1400, 'systemd[1]: Started kubelet.service - kubelet.'],
    [1900, 'kubelet[406]: I0101 12:00:01.900000     406 server.go:1336] "Started kubelet"'],
    [2700, 'kubelet[406]: I0101 12:00:02.700000     406 apiserver.go:51] "Watching apiserver"'],
  ),
  podLogs: `== kube-system_kube-apiserver-${node}_1/kube-apiserver/0.log
2026-01-01T12:00:01.400000000Z stderr F I0101 12:00:01.4 1 options.go:1] starting
2026-01-01T12:00:02.500000000Z stderr F I0101 12:00:02.5 1 secure_serving.go:216] Serving securely on [::]:6443
`,
} as const

test('the phases of a boot are read out of the journal, the logs of pods and what was seen from outside', () => {
  const { lanes, end } = waterfall(boot)
  expect(end).toBe(5000)
  expect(
    lanes.map(({ label, bars }) => [label, ...bars.map(({ phase, from, to }) => [phase, from, to])]),
  ).toEqual([
    ['container', ['tool', 0, 300]],
    ['entrypoint, systemd', ['node', 300, 800]],
    ['containerd', ['process', 800, 900]],
    ['kubelet', ['process', 1400, 1900]],
    [
      'kube-apiserver',
      ['sandbox', 1000, 1150],
      ['container', 1160, 1300],
      ['process', 1300, 2500],
      ['serving', 2500, 3100],
    ],
  ])
  expect(lanes.flatMap(({ marks }) => marks)).toEqual([
    { label: 'watches pods', at: 2700 },
    { label: 'node Ready', at: 3000 },
    { label: 'readyz', at: 2600 },
  ])
})
