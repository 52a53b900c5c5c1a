/** What a node image is made of. Versions of Go modules are pinned in the go.mod files that are named here. */

/** Processor architectures that a node image can be of, by Go's and Debian's name. */
export const architectures = ['amd64', 'arm64'] as const

/** One of {@link architectures}. */
export type Architecture = (typeof architectures)[number]

/** Whether a node image can be of an architecture. */
export function isArchitecture(name: string): name is Architecture {
  return (architectures as readonly string[]).includes(name)
}

/** Kubernetes versions with pinned modules; the first is the default. */
export const kubernetesVersions = ['v1.37.2', 'v1.36.3', 'v1.35.4', 'v1.34.4'] as const

/** The Debian release that the root file system is made of. Its systemd (252) still boots on cgroup v1. */
export const debianSuite = 'bookworm'

/** Packages of the root file system, beyond Debian's essential ones. */
export const debianPackages = [
  // the init system
  'systemd',
  'systemd-sysv',
  'dbus',
  // packet filtering and routing, for the kubelet, kube-proxy and the network daemon
  'iptables',
  'nftables',
  'ipset',
  'conntrack',
  'ebtables',
  'ethtool',
  'iproute2',
  'socat',
  // volumes
  'mount',
  'e2fsprogs',
  'nfs-common',
  // what an entrypoint of kind's and people with a shell in a node use
  'bash',
  'ca-certificates',
  'curl',
  'hostname',
  'iputils-ping',
  'jq',
  'kmod',
  'procps',
  'util-linux',
  'libseccomp2',
  'pigz',
  // the shell of volume helper pods
  'busybox-static',
]

/**
 * The only units that start by themselves. Each other one is a second of somebody's life: a node needs no
 * consoles, timers, device manager or clean-up.
 */
export const wantedUnits: Readonly<Record<string, readonly string[]>> = {
  'sockets.target': ['systemd-journald.socket', 'systemd-journald-dev-log.socket'],
  'sysinit.target': ['systemd-journald.service'],
  'multi-user.target': [
    'containerd.service',
    'kubelet.service',
    'mayfly-static-pods.service',
    'mayfly-api-gate.service',
    'mayfly-dns-relay.service',
  ],
}

/** Units that systemd starts without being asked to, and that a container has no use for. */
export const unwantedUnits = ['systemd-remount-fs.service', 'systemd-journald-audit.socket'] as const

/** One Go module below `node-image/` and the programs that are built from it. */
export interface GoComponent {
  /** Folder below `node-image/`, and the name in progress lines. */
  module: string
  /** Module whose version names the component in the bill of materials. */
  source: string
  /** Package of each program by the program's name. */
  programs: Readonly<Record<string, string>>
  /** Build tags. */
  tags?: string
  /** Linker flags beyond `-s -w`; `VERSION` stands for the version of `source`. */
  ldflags?: string
  /** Links against C libraries, statically. */
  cgo?: true
}

const containerd = 'github.com/containerd/containerd/v2'
const cni = 'github.com/containernetworking/plugins/plugins'

/** Every Go program of a node but Kubernetes itself. */
export const goComponents: readonly GoComponent[] = [
  {
    module: 'mayfly-node',
    source: 'mayfly-node',
    programs: { 'mayfly-node': '.' },
  },
  {
    module: 'containerd',
    source: containerd,
    programs: {
      containerd: './daemon',
      'containerd-shim-runc-v2': './shim',
      ctr: `${containerd}/cmd/ctr`,
    },
    ldflags: `-X ${containerd}/version.Version=VERSION`,
  },
  {
    module: 'runc',
    source: 'github.com/opencontainers/runc',
    programs: { runc: 'github.com/opencontainers/runc' },
    tags: 'seccomp netgo osusergo',
    ldflags: '-linkmode external -extldflags -static -X main.version=VERSION',
    cgo: true,
  },
  {
    module: 'cni-plugins',
    source: 'github.com/containernetworking/plugins',
    programs: {
      bridge: `${cni}/main/bridge`,
      'host-local': `${cni}/ipam/host-local`,
      loopback: `${cni}/main/loopback`,
      portmap: `${cni}/meta/portmap`,
      ptp: `${cni}/main/ptp`,
    },
  },
  {
    module: 'etcd',
    source: 'go.etcd.io/etcd/server/v3',
    programs: { etcd: '.' },
  },
  {
    module: 'coredns',
    source: 'github.com/coredns/coredns',
    programs: { coredns: '.' },
    ldflags: '-X github.com/coredns/coredns/coremain.GitCommit=VERSION',
  },
  {
    module: 'local-path-provisioner',
    source: 'github.com/rancher/local-path-provisioner',
    programs: { 'local-path-provisioner': 'github.com/rancher/local-path-provisioner' },
    ldflags: '-X main.VERSION=VERSION',
  },
]

/**
 * The OCI runtime that starts a container with less than half of runc's processor time, as Debian's later releases have
 * it: the one of the root file system's own release refuses the specification that containerd writes.
 */
export const crunSource = {
  version: '1.21',
  /** Below the mirror's root. */
  path: 'pool/main/c/crun/crun_1.21.orig.tar.gz',
  sha256: '4bfb700e764a4804a4de3ecf07753f4c391005356d60356df65d80ae0914c486',
} as const

/**
 * The programs that Kubernetes is compiled into, and the names under which each is started: what runs for as long as a
 * node does, and what somebody runs now and then.
 */
export const kubernetesPrograms = {
  kubernetes: ['kube-apiserver', 'kube-controller-manager', 'kube-proxy', 'kube-scheduler', 'kubelet'],
  'kubernetes-tools': ['kubeadm', 'kubectl'],
} as const

/** The packages of those programs below `node-image/kubernetes`. */
export const kubernetesPackages = ['.', './kubernetes-tools'] as const

/** Programs that the layers with packet filters hold, with every library they load. */
export const packetFilterPrograms = [
  'xtables-nft-multi',
  'xtables-legacy-multi',
  'nft',
  'ipset',
  'conntrack',
] as const

/** Directories of the root file system that hold plug-ins of those programs; `LIB` is the multiarch directory. */
export const packetFilterPlugins = ['usr/lib/LIB/xtables']

/** Names of the images that are not Kubernetes' own. */
export const ownImages = {
  network: 'docker.io/mayfly/network:v1',
  localPathProvisioner: 'docker.io/mayfly/local-path-provisioner:v0.0.30',
  localPathHelper: 'docker.io/mayfly/local-path-helper:v1',
} as const

/** Time stamp of everything in an image unless `SOURCE_DATE_EPOCH` gives another: 2026-11-01, in seconds. */
export const sourceDateEpoch = 1_793_491_200
