import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { type RecordedPod, recordedPodTemplates, staticPodTemplate } from '../../src/boot/static-pods.ts'

const from = { name: 'a-control-plane', address: '172.28.9.3', cluster: 'a' }

function manifest(name: string, command: string[]): string {
  return JSON.stringify({
    metadata: { name },
    spec: { containers: [{ name, command, startupProbe: {}, readinessProbe: { periodSeconds: 9 } }] },
  })
}

describe('static pods as templates', () => {
  const template = (command: string[], name = 'kube-controller-manager') =>
    parse(staticPodTemplate(manifest(name, command), from).manifest).spec.containers[0] as {
      command: string[]
    }

  test('what differs between clusters becomes a placeholder', () => {
    expect(
      template([
        '--cluster-name=a',
        '--leader-elect=true',
        '--advertise-address=172.28.9.3',
        '--listen=https://172.28.9.3:2379,https://172.28.9.33:1',
        '--name=a-control-plane',
        '--initial-cluster=a-control-plane=https://172.28.9.3:2380',
        '--node-cidr-mask-size-ipv4=25',
        '--node-cidr-mask-size-ipv6=66',
      ]).command,
    ).toEqual([
      '--cluster-name=@CLUSTER_NAME@',
      '--leader-elect=@LEADER_ELECTION@',
      '--advertise-address=@NODE_ADDRESS@',
      '--listen=https://@NODE_ADDRESS@:2379,https://172.28.9.33:1',
      '--name=@NODE_NAME@',
      '--initial-cluster=@ETCD_CLUSTER@',
      '--node-cidr-mask-size-ipv4=@NODE_MASK_SIZE_IPV4@',
      '--node-cidr-mask-size-ipv6=@NODE_MASK_SIZE_IPV6@',
    ])
  })

  test.each(['--feature-gates=InitialCorruptCheck', '--experimental-initial-corrupt-check'])(
    'members of etcd do not wait for each other with %s',
    (flag) => {
      const { command } = template(['etcd', `${flag}=true`, '--feature-gates=Other=true'], 'etcd')
      expect(command).toContain(`${flag}=false`)
      expect(command).toContain('--feature-gates=Other=true')
    },
  )

  test('probes look early, and etcd does not wait for the disk', () => {
    expect(template(['etcd'], 'etcd')).toEqual({
      name: 'etcd',
      command: [
        'etcd',
        '--unsafe-no-fsync=true',
        '--initial-cluster-state=@ETCD_CLUSTER_STATE@',
        '--heartbeat-interval=@ETCD_HEARTBEAT_MS@',
        '--election-timeout=@ETCD_ELECTION_MS@',
      ],
      readinessProbe: { periodSeconds: 1, initialDelaySeconds: 0 },
      env: [
        { name: 'MAYFLY_TRIM_AFTER', value: '7s' },
        { name: 'ETCD_SNAPSHOT_CATCHUP_ENTRIES', value: '500' },
      ],
    })
  })
})

describe('static pods as the runtime is told of them', () => {
  const recorded: RecordedPod = {
    name: 'kube-scheduler',
    uid: 'f00',
    sandbox: { metadata: { name: 'kube-scheduler-a-control-plane' }, log_directory: '/var/log/pods/f00' },
    containers: [
      { metadata: { name: 'kube-scheduler' }, command: ['kube-scheduler', '--leader-elect=true'] },
    ],
  }
  const made = staticPodTemplate(
    manifest('kube-scheduler', recorded.containers[0]?.command ?? []),
    from,
    'f00',
  )

  test('the manifest carries the UID by which the kubelet finds the pod', () => {
    expect(parse(made.manifest).metadata).toEqual({ name: 'kube-scheduler', uid: 'f00' })
  })

  test('components give back what their start has left, by manifest and by record', () => {
    const [container] = parse(made.manifest).spec.containers
    expect(container.env).toEqual([{ name: 'MAYFLY_TRIM_AFTER', value: '7s' }])
  })

  test('they run what their manifests say, on any node', () => {
    const pods = JSON.parse(recordedPodTemplates([recorded], new Map([['kube-scheduler', made]]), from))
    expect(pods).toEqual([
      {
        ...recorded,
        sandbox: { ...recorded.sandbox, metadata: { name: 'kube-scheduler-@NODE_NAME@' } },
        containers: [
          {
            ...recorded.containers[0],
            command: ['kube-scheduler', '--leader-elect=@LEADER_ELECTION@'],
            envs: [{ key: 'MAYFLY_TRIM_AFTER', value: '7s' }],
          },
        ],
      },
    ])
  })
})
