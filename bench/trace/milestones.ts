import type { Recording } from './observe.ts'

/** What a bar stands for. */
export type Phase = 'tool' | 'node' | 'sandbox' | 'container' | 'process' | 'serving'

/** A span of the boot, in milliseconds since its beginning. */
export interface Bar {
  phase: Phase
  from: number
  to: number
}

/** Something that happened at one moment. */
export interface Mark {
  at: number
  label: string
}

/** One line of the picture. */
export interface Lane {
  label: string
  bars: readonly Bar[]
  marks: readonly Mark[]
}

/** What the picture of one boot shows. */
export interface Waterfall {
  lanes: readonly Lane[]
  /** When the cluster was usable. */
  end: number
  cpu: readonly { at: number; busy: number }[]
}

/** The line by which a component says that it serves. */
const servingLine: Readonly<Record<string, RegExp>> = {
  etcd: /serving client traffic securely/,
  'kube-apiserver': /Serving securely on/,
  'kube-controller-manager': /Serving securely on/,
  'kube-scheduler': /Serving securely on/,
  'kube-proxy': /Caches are synced/,
  coredns: /\.:53/,
  'kindnet-cni': /node network is in place/,
  'local-path-provisioner': /Started provisioner controller/,
}

/** Reads a boot's milestones out of what it left. Pure. */
export function waterfall(recording: Recording): Waterfall {
  const { begun, usable, sightings } = recording
  const since = (at: number) => Math.max(0, at - begun)
  const lines = journalLines(recording.journal)
  const started = sightings.find(({ what }) => what === 'container started')
  const pods = podLanes(recording, lines)
  const node = sightings.find(({ what, name }) => what === 'Ready' && !pods.some((pod) => pod.name === name))
  return {
    lanes: [
      {
        label: 'container',
        bars: started ? [{ phase: 'tool', from: 0, to: since(started.at) }] : [],
        marks: [],
      },
      ...nodeLanes(lines, begun, started?.at ?? begun, node?.at),
      ...pods.map(({ lane }) => lane),
    ],
    end: since(usable),
    cpu: recording.cpu.map(({ at, busy }) => ({ at: since(at), busy })),
  }
}

interface Line {
  at: number
  unit: string
  text: string
}

function journalLines(journal: string): Line[] {
  return [...journal.matchAll(/^(\S+) \S+ ([^\s[:]+)(?:\[\d+\])?: (.*)$/gm)].map(
    ([, time = '', unit = '', text = '']) => ({ at: Date.parse(time), unit, text }),
  )
}

/** systemd, containerd and the kubelet. */
function nodeLanes(
  lines: readonly Line[],
  begun: number,
  started: number,
  ready: number | undefined,
): Lane[] {
  const time = (unit: string, text: RegExp) =>
    lines.findLast((line) => line.unit === unit && text.test(line.text))?.at
  const bar = (phase: Phase, from: number | undefined, to: number | undefined): Bar[] =>
    from === undefined || to === undefined || to < from ? [] : [{ phase, from: from - begun, to: to - begun }]
  const mark = (label: string, at: number | undefined): Mark[] =>
    at === undefined ? [] : [{ label, at: at - begun }]
  const kubeletStarted = time('systemd', /^Started kubelet\.service/)
  return [
    {
      label: 'entrypoint, systemd',
      bars: bar('node', started, time('systemd', /^Reached target basic\.target/)),
      marks: [],
    },
    {
      label: 'containerd',
      bars: bar(
        'process',
        time('systemd', /^Reached target basic\.target/),
        time('containerd', /successfully booted/),
      ),
      marks: [],
    },
    {
      label: 'kubelet',
      bars: bar('process', kubeletStarted, time('kubelet', /"Started kubelet"/)),
      marks: [
        ...mark('registered', time('kubelet', /Successfully registered node/)),
        ...mark('watches pods', time('kubelet', /"Watching apiserver"/)),
        ...mark('node Ready', ready),
      ],
    },
  ]
}

interface PodLane {
  name: string
  lane: Lane
}

/** A lane for each container of a pod, in the order in which their sandboxes were begun. */
function podLanes({ begun, podLogs, sightings }: Recording, lines: readonly Line[]): PodLane[] {
  const logs = readPodLogs(podLogs)
  const containerd = lines.filter(({ unit }) => unit === 'containerd')
  const find = (...parts: string[]) =>
    containerd.find(({ text }) => parts.every((part) => text.includes(part)))
  return containerd.flatMap(({ at: sandboxFrom, text }) => {
    const [, pod] = /RunPodSandbox for name:\\"([^"\\]+)\\".*namespace:\\"[^"\\]+\\""$/.exec(text) ?? []
    if (pod === undefined) return []
    const sandboxMade = find(`RunPodSandbox for name:\\"${pod}\\"`, 'returns sandbox id')
    const sandbox = idAtEnd(sandboxMade?.text)
    const created = find(`CreateContainer within sandbox \\"${sandbox}\\" for`, 'returns container id')
    const [, container = ''] = /for name:\\"([^"\\]+)\\" returns/.exec(created?.text ?? '') ?? []
    const began = find(`CreateContainer within sandbox \\"${sandbox}\\" for`)
    const running = find(`StartContainer for \\"${idAtEnd(created?.text)}\\"`, 'returns successfully')
    const serving = logs
      .find((log) => log.pod === pod)
      ?.lines.find(({ text }) => servingLine[container]?.test(text))
    // Pods of kind's control plane are Ready, then not, then again.
    const ready = sightings.findLast(({ what, name }) => what === 'Ready' && name === pod)
    const readyz = sightings.find(({ what }) => what === 'readyz')
    const bars = consecutive(begun, [
      ['sandbox', sandboxFrom, sandboxMade?.at],
      ['container', began?.at, running?.at],
      ['process', running?.at, serving?.at],
      ['serving', serving?.at, ready?.at],
    ])
    const marks = container === 'kube-apiserver' && readyz ? [{ label: 'readyz', at: readyz.at - begun }] : []
    return [{ name: pod, lane: { label: container || pod, bars, marks } }]
  })
}

function consecutive(
  begun: number,
  phases: readonly [Phase, number | undefined, number | undefined][],
): Bar[] {
  return phases.flatMap(([phase, from, to]) =>
    from === undefined || to === undefined || to < from
      ? []
      : [{ phase, from: from - begun, to: to - begun }],
  )
}

function idAtEnd(text = ''): string {
  return /returns (?:sandbox|container) id \\"([0-9a-f]+)\\"/.exec(text)?.[1] ?? 'none'
}

/** Times come from the lines themselves: the runtime stamps them as they are written. */
function readPodLogs(text: string): { pod: string; lines: { at: number; text: string }[] }[] {
  return text
    .split(/^== /m)
    .slice(1)
    .map((log) => {
      const [path = '', ...lines] = log.split('\n')
      return {
        pod: path.split('_')[1] ?? '',
        lines: lines.map((line) => ({ at: Date.parse(line.slice(0, line.indexOf(' '))), text: line })),
      }
    })
}
