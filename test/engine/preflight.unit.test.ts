import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { failingAmong, missingFrom } from '../../src/engine/capabilities.ts'
import { forwardsPackets, hasIpvs, usableControllers } from '../../src/engine/host-facts.ts'
import { assertHostFit, type HostFacts, judgeHost } from '../../src/engine/index.ts'

const gibibyte = 2 ** 30
const fit: HostFacts = {
  kind: 'docker',
  version: '28.2.2',
  osType: 'linux',
  rootless: false,
  cgroupVersion: 2,
  controllers: { memory: true, pids: true, cpu: true },
  ipForwarding: true,
  missingCapabilities: [],
  inotifyInstances: 512,
  inotifyWatches: 524_288,
  freeDiskBytes: 50 * gibibyte,
  rootDir: '/var/lib/docker',
  availableMemoryBytes: 8 * gibibyte,
}
const threeNodes = ['control-plane', 'worker', 'worker'] as const
const judged = (facts: Partial<HostFacts>) =>
  judgeHost({ ...fit, ...facts }, { nodes: threeNodes, ipvs: true }).map(
    ({ severity, sentence }) => `${severity}: ${sentence}`,
  )

test('a fit host has no findings, and neither has one that can not be looked at', () => {
  expect(judged({})).toEqual([])
  expect(
    judged({
      inotifyInstances: undefined,
      inotifyWatches: undefined,
      freeDiskBytes: undefined,
      availableMemoryBytes: undefined,
    }),
  ).toEqual([])
})

test('each lack is one sentence that says what was seen and what to do', () => {
  expect(
    judged({
      version: '19.03.15',
      osType: 'windows',
      missingCapabilities: ['CAP_SYS_ADMIN', 'CAP_NET_ADMIN', 'CAP_SYS_RESOURCE'],
      controllers: { memory: true, pids: false, cpu: true },
      ipForwarding: false,
      inotifyInstances: 64,
      inotifyWatches: 2048,
      freeDiskBytes: 1.5 * gibibyte,
      availableMemoryBytes: 512 * 2 ** 20,
    }).join('\n'),
  ).toMatchInlineSnapshot(`
    "error: Docker 19.03.15 is too old: 20.10 or newer is needed.
    error: The engine runs windows containers: switch it to Linux containers.
    error: The engine can't give CAP_SYS_ADMIN and CAP_NET_ADMIN to a container, which a node needs: grant that to the engine's own service.
    error: The engine can't use cgroup controllers that the kubelet needs (pids): switch them on in the kernel.
    error: IP forwarding is off on the host, so pods would not reach each other: switch it on with \`sysctl -w net.ipv4.ip_forward=1\`.
    error: Only 1.5 GiB are free in /var/lib/docker, and a cluster needs 2.0 GiB: make room, for instance with \`docker system prune\`.
    warning: The engine can't give CAP_SYS_RESOURCE to a container: nodes work without, but a pod that adds it does not start.
    warning: fs.inotify.max_user_instances is 64, and 3 nodes may need 120: raise it with \`sysctl -w fs.inotify.max_user_instances=512\`.
    warning: fs.inotify.max_user_watches is 2048, and 3 nodes may need 3072: raise it with \`sysctl -w fs.inotify.max_user_watches=524288\`.
    warning: Only 512 MiB of memory are available, and 3 nodes take about 1100 MiB: stop something, or use fewer nodes."
  `)
})

test('nodes that run already take their part of the inotify limits', () => {
  expect(judged({ inotifyInstances: 200, runningNodes: 2 })).toEqual([])
  expect(judged({ inotifyInstances: 128, runningNodes: 1, inotifyWatches: 5000 })).toMatchInlineSnapshot(`
    [
      "warning: fs.inotify.max_user_instances is 128, and 3 nodes beside 1 that run may need 160: raise it with \`sysctl -w fs.inotify.max_user_instances=512\`.",
    ]
  `)
  expect(judged({ runningNodes: 10, inotifyWatches: 8192 })).toMatchInlineSnapshot(`
    [
      "warning: fs.inotify.max_user_instances is 512, and 3 nodes beside 10 that run may need 520: raise it with \`sysctl -w fs.inotify.max_user_instances=1040\`.",
      "warning: fs.inotify.max_user_watches is 8192, and 3 nodes beside 10 that run may need 13312: raise it with \`sysctl -w fs.inotify.max_user_watches=524288\`.",
    ]
  `)
})

test('a kernel without IPVS is unfit for a kube-proxy that is to use it, and for no other', () => {
  expect(judged({ ipvs: false })).toMatchInlineSnapshot(`
    [
      "error: The host's kernel has no IPVS (ip_vs), which kube-proxy is told to use: set \`kubeProxyMode\` to iptables or nftables.",
    ]
  `)
  expect(judged({ ipvs: true })).toEqual([])
  expect(judgeHost({ ...fit, ipvs: false }, { nodes: threeNodes })).toEqual([])
})

describe('whether the kernel has IPVS', () => {
  const dependencies = (name: string) =>
    `kernel/net/netfilter/ipvs/${name}.ko.zst: kernel/lib/libcrc32c.ko.zst\n`

  /** Whether a host with these files has it. */
  function known(files: Record<string, string>): Promise<boolean | undefined> {
    const root = mkdtempSync(join(tmpdir(), 'mayfly-kernel-'))
    onTestFinished(() => rmSync(root, { recursive: true }))
    for (const [name, content] of Object.entries({
      'proc/sys/kernel/osrelease': '6.1.0-9-amd64\n',
      ...files,
    })) {
      mkdirSync(dirname(join(root, name)), { recursive: true })
      writeFileSync(join(root, name), content)
    }
    return hasIpvs(join(root, 'proc'), join(root, 'modules'))
  }

  test('it is loaded, built in, or a module that can be loaded', async () => {
    expect(await known({ 'proc/net/ip_vs': 'IP Virtual Server version 1.2.1\n' })).toBe(true)
    const modules = { 'proc/modules': 'overlay 163840 2\n' }
    expect(await known({ ...modules, 'modules/6.1.0-9-amd64/modules.dep': dependencies('ip_vs') })).toBe(true)
    expect(
      await known({
        ...modules,
        'modules/6.1.0-9-amd64/modules.builtin': 'kernel/net/netfilter/ipvs/ip_vs.ko\n',
      }),
    ).toBe(true)
  })

  test('it is none of these', async () => {
    const modules = { 'proc/modules': '' }
    expect(await known({ ...modules, 'modules/6.1.0-9-amd64/modules.dep': dependencies('ip_vs_rr') })).toBe(
      false,
    )
    // This kernel takes no modules.
    expect(await known({})).toBe(false)
  })

  test('nobody knows where the folder of modules is not there, as in containers', async () => {
    expect(await known({ 'proc/modules': '' })).toBeUndefined()
    expect(await known({ 'proc/modules': '', 'modules/5.10.0/modules.dep': '' })).toBeUndefined()
  })
})

test('disk space is worth a warning before it is an error', () => {
  expect(judged({ freeDiskBytes: 4 * gibibyte })).toMatchInlineSnapshot(`
    [
      "warning: Only 4.0 GiB are free in /var/lib/docker, and below 5.0 GiB larger images may not fit: make room.",
    ]
  `)
  expect(judged({ freeDiskBytes: 5 * gibibyte })).toEqual([])
})

test('rootless engines are refused, with everything that is missing', () => {
  expect(judged({ rootless: true, kind: 'podman', version: '5.4.2' })).toMatchInlineSnapshot(`
    [
      "error: Rootless Podman can't run nodes: they make device nodes, which no user namespace allows. Use a rootful engine (\`sudo systemctl start podman.socket\` and DOCKER_HOST=unix:///run/podman/podman.sock).",
    ]
  `)
  const controllers = { memory: true, pids: true, cpu: false }
  expect(judged({ rootless: true, controllers })).toMatchInlineSnapshot(`
    [
      "error: Rootless Docker can't run nodes: they make device nodes, which no user namespace allows. Use a rootful engine (DOCKER_HOST=unix:///var/run/docker.sock).",
      "error: The engine can't use cgroup controllers that the kubelet needs (cpu): delegate them to your user with "Delegate=cpu cpuset io memory pids" in a drop-in of user@.service.",
    ]
  `)
  expect(judged({ rootless: true, controllers, cgroupVersion: 1 })).toMatchInlineSnapshot(`
    [
      "error: Rootless Docker can't limit containers on cgroup v1: boot the host with cgroup v2 (systemd.unified_cgroup_hierarchy=1), or use a rootful engine.",
    ]
  `)
})

test('versions: the oldest that works, distributions, development builds', () => {
  expect(judged({ version: '20.10.24+dfsg1' })).toEqual([])
  expect(judged({ version: 'dev' })).toEqual([])
  expect(judged({ kind: 'podman', version: '3.4.4' })).toMatchInlineSnapshot(`
    [
      "error: Podman 3.4.4 is too old: 4.0 or newer is needed.",
    ]
  `)
})

test('only errors refuse a host, all of them in one error', () => {
  const engine = { describe: () => 'Docker 20.10 at unix:///x' }
  expect(() =>
    assertHostFit(engine, judgeHost({ ...fit, availableMemoryBytes: 1 }, { nodes: threeNodes })),
  ).not.toThrow()
  expect(() =>
    assertHostFit(
      engine,
      judgeHost({ ...fit, ipForwarding: false, osType: 'windows' }, { nodes: threeNodes }),
    ),
  ).toThrowErrorMatchingInlineSnapshot(`
    [MayflyError: The host of Docker 20.10 at unix:///x can't run a cluster:
        - The engine runs windows containers: switch it to Linux containers.
        - IP forwarding is off on the host, so pods would not reach each other: switch it on with \`sysctl -w net.ipv4.ip_forward=1\`.]
  `)
})

test('a bounding set tells the missing capabilities', () => {
  expect(missingFrom('Name:\tdockerd\nCapBnd:\t000001fffeffffff\n', '40\n')).toEqual(['SYS_RESOURCE'])
  expect(missingFrom('CapBnd:\t000001ffffffffff\n', '40\n')).toEqual([])
  // An older kernel ends at AUDIT_READ.
  expect(missingFrom('CapBnd:\t0000003fffffffff\n', '37\n')).toEqual([])
  expect(missingFrom('no such line', '40\n')).toBeUndefined()
})

test('few failures among many are found with few questions', async () => {
  const names = Array.from({ length: 41 }, (_, index) => `cap${index}`)
  let questions = 0
  const find = (failing: string[]) => {
    questions = 0
    return failingAmong(names, async (group) => {
      questions++
      return !group.some((name) => failing.includes(name))
    })
  }
  expect(await find([])).toEqual([])
  expect(questions).toBe(1)
  expect(await find(['cap24'])).toEqual(['cap24'])
  expect(questions).toBeLessThanOrEqual(13)
  expect(await find(['cap0', 'cap40'])).toEqual(['cap0', 'cap40'])
  expect(await find(names)).toEqual(names)
})

test("Podman's word on the processor's controller counts on cgroup v1 only", () => {
  const answer = { MemoryLimit: true, PidsLimit: true, CpuCfsQuota: false }
  const usable = { memory: true, pids: true, cpu: true }
  expect(usableControllers({ kind: 'podman', cgroupVersion: 2 }, answer)).toEqual(usable)
  expect(usableControllers({ kind: 'podman', cgroupVersion: 1 }, answer)).toEqual({ ...usable, cpu: false })
  expect(usableControllers({ kind: 'docker', cgroupVersion: 2 }, answer)).toEqual({ ...usable, cpu: false })
  expect(usableControllers({ kind: 'docker', cgroupVersion: 2 }, {})).toEqual(usable)
})

test('a fresh Podman host, on which no container has run yet, need not forward packets', () => {
  expect(forwardsPackets({ kind: 'podman' }, { IPv4Forwarding: false })).toBe(true)
  expect(forwardsPackets({ kind: 'docker' }, { IPv4Forwarding: false })).toBe(false)
  expect(forwardsPackets({ kind: 'docker' }, {})).toBe(true)
})
