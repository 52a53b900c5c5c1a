import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  connectEngine,
  connectNetwork,
  containerLogs,
  createContainer,
  createNetwork,
  disconnectNetwork,
  type Engine,
  exec,
  listContainers,
  probePrivilege,
  putFiles,
  removeContainer,
  removeNetwork,
  startContainer,
  stopContainer,
  waitForExit,
} from '../../src/engine/index.ts'
import { kubernetesVersions } from '../../src/node-image/index.ts'
import { containerdAnswers, nodeImage, nodeSpec, run, sh, startNode } from './node.ts'

let engine: Engine
const [first, second] = [`${run}-a`, `${run}-b`]
const subnet = '10.89.77.0/24'

beforeAll(async () => {
  engine = await connectEngine()
  await createNetwork(engine, { name: run, subnet, labels: { 'io.mayfly.test': run } })
  const environment = {
    HTTP_PROXY: 'http://proxy.test:3128',
    NO_PROXY: '.svc',
    KIND_DNS_SEARCH: 'a.test b.test',
  }
  await Promise.all([
    startNode(engine, {
      ...(await nodeSpec(engine, first)),
      network: run,
      ipv4: '10.89.77.10',
      env: environment,
    }),
    startNode(engine, { ...(await nodeSpec(engine, second)), network: run, ipv4: '10.89.77.11' }),
  ])
})

afterAll(async () => {
  const left = await listContainers(engine, { 'io.mayfly.test': run })
  await Promise.all(left.map(({ name }) => removeContainer(engine, name)))
  await removeNetwork(engine, run)
})

describe('what --privileged would have done', () => {
  test('cgroups can be made in every hierarchy', async () => {
    const made = await sh(
      engine,
      first,
      `for hierarchy in $(awk '$3 ~ /^cgroup2?$/ { print $2 }' /proc/mounts); do
         mkdir $hierarchy/probe && rmdir $hierarchy/probe && echo $hierarchy
       done`,
    )
    expect(made.split('\n').length).toBeGreaterThan(0)
  })

  test('cgroup v2 is not beside v1, where crun would start nothing', async ({ skip }) => {
    const onV1 = 'test -e /sys/fs/cgroup/cgroup.controllers || echo v1'
    if ((await sh(engine, first, onV1)) !== 'v1') skip('this host has cgroup v2 alone')
    const hybrid = `${run}-hybrid`
    // As engines pass it on to containers of hosts with both.
    const mountBoth = `mount -o remount,rw /sys/fs/cgroup && mkdir /sys/fs/cgroup/unified &&
      mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified && exec mayfly-node entrypoint /sbin/init`
    await startNode(engine, {
      ...(await nodeSpec(engine, hybrid)),
      entrypoint: ['/bin/sh', '-ec', mountBoth],
      command: [],
    })
    expect(await sh(engine, hybrid, 'ls /sys/fs/cgroup')).not.toContain('unified')
    expect(await sh(engine, hybrid, 'cat /proc/mounts')).not.toContain('cgroup2')
  })

  test('/sys is writable', async () => {
    expect(await sh(engine, first, 'awk \'$2 == "/sys" { print $4 }\' /proc/mounts')).toMatch(/^rw,/)
  })

  test('the kubelet finds its kernel log, and FUSE its device', async () => {
    expect(await sh(engine, first, 'stat -c "%F %t:%T" /dev/kmsg /dev/fuse')).toBe(
      'character special file 1:b\ncharacter special file a:e5',
    )
  })

  test('a mount made in the node reaches whoever shares its mounts', async () => {
    const propagation = await sh(engine, first, 'grep " / / " /proc/self/mountinfo')
    expect(propagation).toContain('shared:')
  })

  test('the cgroup that the kubelet puts pods into takes processes', async () => {
    const joined = await sh(
      engine,
      first,
      `mayfly-node kubelet-cgroup
       if [ -e /sys/fs/cgroup/cgroup.controllers ]; then mkdir -p /sys/fs/cgroup/kubelet/probe; join=/sys/fs/cgroup/kubelet/probe
       else join=/sys/fs/cgroup/cpuset/kubelet; fi
       sleep 60 & echo $! > $join/cgroup.procs; kill $!
       echo joined`,
    )
    expect(joined).toBe('joined')
  })
})

describe('identity', () => {
  test('each node has a machine id and a product UUID of its own', async () => {
    const read = 'cat /etc/machine-id /kind/product_uuid'
    const [one, other] = await Promise.all([sh(engine, first, read), sh(engine, second, read)])
    expect(one).toMatch(/^[0-9a-f]{32}\n[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)
    const [machineId, uuid] = one.split('\n')
    expect(other).not.toContain(machineId)
    expect(other).not.toContain(uuid)
  })

  test('programs in the node see that product UUID, where the machine has one', async () => {
    const seen = await sh(
      engine,
      first,
      'cat /sys/class/dmi/id/product_uuid 2>/dev/null || cat /kind/product_uuid',
    )
    expect(seen).toBe(await sh(engine, first, 'cat /kind/product_uuid'))
  })
})

describe('network', () => {
  test('iptables is of the flavour in which the engine made its rules', async () => {
    const rules = await sh(engine, first, 'iptables-save -t nat')
    expect(rules).toContain('--to-destination 127.0.0.11')
    expect(await sh(engine, first, 'readlink /etc/alternatives/iptables')).toBe(
      `/usr/sbin/${(await sh(engine, first, 'iptables --version')).includes('nf_tables') ? 'iptables-nft' : 'iptables-legacy'}`,
    )
  })

  test('a pod resolves names of other containers through the engine’s DNS', async () => {
    const pod = `
      ip netns add pod
      ip link add veth-pod type veth peer name eth0 netns pod
      ip addr add 10.244.9.1/24 dev veth-pod && ip link set veth-pod up
      ip -n pod addr add 10.244.9.2/24 dev eth0 && ip -n pod link set eth0 up && ip -n pod route add default via 10.244.9.1
      trap "ip netns del pod" EXIT
      ip netns exec pod getent hosts ${second}`
    expect(await sh(engine, first, pod)).toContain('10.89.77.11')
    expect(await sh(engine, first, 'cat /etc/resolv.conf')).not.toContain('127.0.0.11')
  })

  test('search domains are those that were asked for', async () => {
    expect(await sh(engine, first, 'cat /etc/resolv.conf')).toMatch(/^search a\.test b\.test$/m)
  })

  test('containerd gets the proxy settings of the container', async () => {
    const environment = await sh(engine, first, "tr '\\0' '\\n' < /proc/$(pgrep -x containerd)/environ")
    expect(environment).toContain('HTTP_PROXY=http://proxy.test:3128')
    expect(environment).toContain('NO_PROXY=.svc')
  })
})

describe('services', () => {
  test('only what a node needs runs', async () => {
    const units = await sh(
      engine,
      second,
      'systemctl list-units --type=service,socket,timer,path --state=active --plain --no-legend | cut -d" " -f1',
    )
    expect(units.split('\n')).toEqual([
      'containerd.service',
      'systemd-journald.service',
      'systemd-journald-dev-log.socket',
      'systemd-journald.socket',
    ])
    expect(await sh(engine, second, 'systemctl --failed --plain --no-legend')).toBe('')
  })

  test('the journal is on the volume of the node, which outlives a stop', async () => {
    expect(await sh(engine, second, 'find /var/log/journal -name system.journal | wc -l')).toBe('1')
    expect(await sh(engine, second, 'journalctl --header | grep "File path"')).toContain('/var/log/journal/')
  })

  test('the log tells kind that the node is up', async () => {
    expect(await containerLogs(engine, second)).toMatch(/Reached target .*Multi-User System/)
  })
})

describe('core images', () => {
  const wanted = 'kubeadm config images list --kubernetes-version=$(cat /kind/version)'

  test('containerd has every image that kubeadm names, pinned', async () => {
    const listed = JSON.parse(await sh(engine, first, 'crictl images -o json')) as {
      images: { repoTags: string[]; pinned: boolean }[]
    }
    const names = (await sh(engine, first, wanted)).split('\n')
    expect(names).toHaveLength(7)
    expect(listed.images.flatMap(({ repoTags }) => repoTags)).toEqual(expect.arrayContaining(names))
    expect(listed.images.every(({ pinned }) => pinned)).toBe(true)
  })

  test('none was unpacked at boot', async () => {
    const kibibytes = Number((await sh(engine, first, 'du -sk /var/lib/containerd')).split('\t')[0])
    expect(kibibytes).toBeLessThan(2048)
  })

  test('a container of one runs from the read-only layers', async () => {
    const image = await sh(engine, second, `${wanted} | grep /etcd:`)
    const printed = await sh(
      engine,
      second,
      `ctr -n k8s.io run --rm --snapshotter overlayfs ${image} probe /usr/local/bin/etcd --version`,
    )
    expect(printed).toContain('etcd Version:')
  })

  test('kind finds an image’s id and tags with crictl', async () => {
    const image = `registry.k8s.io/kube-apiserver:${kubernetesVersions[0]}`
    const { status } = JSON.parse(await sh(engine, first, `crictl inspecti ${image}`))
    expect(status.id).toMatch(/^sha256:[0-9a-f]{64}$/)
    expect(status.repoTags).toContain(image)
  })

  test('crictl says in one sentence what it cannot do', async () => {
    const { exitCode, stderr } = await exec(engine, first, ['crictl', 'stats'])
    expect(exitCode).toBe(1)
    expect(stderr.trim().split('\n')).toHaveLength(1)
    expect(stderr).toContain('"stats" is not among the commands')
  })
})

describe('a restarted node', () => {
  const node = `${run}-c`
  const before = '10.89.77.20'
  const after = '10.89.77.30'
  const state =
    'cat /etc/machine-id /kind/product_uuid; ctr -n k8s.io images ls -q | grep example.test; stat -c %i /var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db'
  let kept: string

  beforeAll(async () => {
    await startNode(engine, { ...(await nodeSpec(engine, node)), network: run, ipv4: before })
    await sh(
      engine,
      node,
      `ctr -n k8s.io images tag $(kubeadm config images list | grep pause) example.test/mine:1`,
    )
    await putFiles(engine, node, [
      {
        path: '/etc/kubernetes/manifests/probe.yaml',
        content: `--advertise-address=${before}\n--peers=${before}1,https://${before}:2380\n`,
        mode: 0o600,
      },
    ])
    // Nothing may start from it.
    await sh(engine, node, 'test ! -e /var/lib/kubelet/config.yaml')
    kept = await sh(engine, node, state)
    await stopContainer(engine, node)
    await disconnectNetwork(engine, run, node)
    await connectNetwork(engine, run, node, { ipv4: after })
    await startContainer(engine, node)
    await containerdAnswers(engine, node)
  })

  test('is the same machine with the same images', async () => {
    expect(await sh(engine, node, state)).toBe(kept)
  })

  test('has its new address in kubeadm’s files, and no other address changed', async () => {
    expect(await sh(engine, node, 'cat /etc/kubernetes/manifests/probe.yaml')).toBe(
      `--advertise-address=${after}\n--peers=${before}1,https://${after}:2380`,
    )
    expect(await sh(engine, node, 'stat -c %a /etc/kubernetes/manifests/probe.yaml')).toBe('600')
  })

  test('still resolves names of other containers', async () => {
    expect(await sh(engine, node, `getent hosts ${second}`)).toContain('10.89.77.11')
  })
})

describe('under --privileged', () => {
  test('it boots as well, where the engine can give it', async () => {
    const name = `${run}-privileged`
    // Docker 29 leaves out by itself what it lacks.
    const { capDrop: refused } = await probePrivilege(engine, nodeImage)
    const { Runtimes } = (await engine.docker.info()) as { Runtimes: Record<string, unknown> }
    // On a host that lacks a capability the bench's runtime wrapper stands in, where it is registered.
    const wrapper = 'mayfly-bench'
    const container = await engine.docker.createContainer({
      name,
      Image: nodeImage,
      Labels: { 'io.mayfly.test': run },
      HostConfig: {
        Privileged: true,
        CgroupnsMode: 'private',
        Tmpfs: { '/tmp': '', '/run': '' },
        ...(refused.length > 0 && wrapper in Runtimes && { Runtime: wrapper }),
      },
      Volumes: { '/var': {} },
    } as object)
    if (refused.length > 0 && !(wrapper in Runtimes)) {
      await expect(container.start()).rejects.toThrow(/caps|operation not permitted/)
      return
    }
    await container.start()
    await containerdAnswers(engine, name)
    expect(await sh(engine, name, 'mayfly-node kubelet-cgroup && systemctl is-active containerd')).toBe(
      'active',
    )
  })
})

describe('a container that may not do what a node must', () => {
  test('ends at once and says which duty failed', async () => {
    const name = `${run}-confined`
    await createContainer(engine, { name, image: nodeImage, labels: { 'io.mayfly.test': run } })
    await startContainer(engine, name)
    expect(await waitForExit(engine, name)).toBe(1)
    expect(await containerLogs(engine, name)).toMatch(
      /^mayfly-node entrypoint: could not make cgroups writable: mount .*CAP_SYS_ADMIN/m,
    )
  })
})

describe('the image', () => {
  test('has no key, no token and no machine identity in it', async () => {
    const name = `${run}-plain`
    await createContainer(engine, {
      name,
      image: nodeImage,
      labels: { 'io.mayfly.test': run },
      entrypoint: ['/usr/bin/sleep', 'infinity'],
    })
    await startContainer(engine, name)
    // -I: programs hold the words without holding a key.
    const { exitCode, stdout } = await exec(engine, name, [
      'grep', '-rIlE', '--', '-----BEGIN [A-Z ]*PRIVATE KEY-----', '/etc', '/home', '/kind', '/opt', '/root', '/srv', '/usr', '/var',
    ]) // biome-ignore format: a command line
    expect(stdout).toBe('')
    expect(exitCode).toBe(1)
    const identity = await sh(
      engine,
      name,
      'stat -c %s /etc/machine-id; find /etc/ssh /var/lib/dbus/machine-id /var/lib/systemd/random-seed /etc/kubernetes /kind/product_uuid -type f 2>/dev/null || true',
    )
    expect(identity).toBe('0')
    expect(await sh(engine, name, "grep -c '^[^:]*:[^:*!]' /etc/shadow || true")).toBe('0')
  })
})
