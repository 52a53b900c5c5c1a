import type { Operation } from 'rfc6902'

/** What a node does: run the control plane (and, in a cluster without workers, pods too), or run pods only. */
export type NodeRole = 'control-plane' | 'worker'

/** IP families of a cluster's pods and Services. */
export type IpFamily = 'ipv4' | 'ipv6' | 'dual'

/** How kube-proxy writes Service rules; `none` leaves kube-proxy out. */
export type KubeProxyMode = 'iptables' | 'ipvs' | 'nftables' | 'none'

/** Which way mounts made later travel between host and node, as in a Kubernetes volume mount. */
export type MountPropagation = 'None' | 'HostToContainer' | 'Bidirectional'

/** Transport of a published port. */
export type PortProtocol = 'TCP' | 'UDP' | 'SCTP'

/** A folder or file of the host inside a node. */
export interface MountSpec {
  /** Absolute path on the host. */
  readonly hostPath: string
  /** Absolute path inside the node. */
  readonly containerPath: string
  readonly readOnly: boolean
  readonly selinuxRelabel: boolean
  readonly propagation: MountPropagation
}

/** A port of a node, published on the host. */
export interface PortMappingSpec {
  /** 1 to 65535. */
  readonly containerPort: number
  /** 1 to 65535, or 0: any that is free, chosen when the node is made. */
  readonly hostPort: number
  /** IP address on the host. */
  readonly listenAddress: string
  readonly protocol: PortProtocol
}

/**
 * A JSON patch (RFC 6902) for those documents of the generated kubeadm configuration that have this `kind` and,
 * unless `version` is empty, this group and version.
 */
export interface Json6902Patch {
  readonly group: string
  readonly version: string
  readonly kind: string
  readonly patch: readonly Operation[]
}

/** One node of a {@link ClusterSpec}. */
export interface NodeSpec {
  /** Name of the container, its hostname and the Node object. */
  readonly name: string
  readonly role: NodeRole
  /** Reference of the node image. */
  readonly image: string
  /** Labels of the Node object. */
  readonly labels: Readonly<Record<string, string>>
  readonly extraMounts: readonly MountSpec[]
  readonly extraPortMappings: readonly PortMappingSpec[]
  /** Merge patches (RFC 7386), one YAML document each, applied after the cluster's own. */
  readonly kubeadmConfigPatches: readonly string[]
  /** Applied after the cluster's own. */
  readonly kubeadmConfigPatchesJSON6902: readonly Json6902Patch[]
  /** Limit in CPUs, fractions allowed; no limit when absent. */
  readonly cpus?: number
  /** Limit in bytes; no limit when absent. */
  readonly memoryBytes?: number
}

/** The network of a {@link ClusterSpec}. */
export interface NetworkingSpec {
  readonly ipFamily: IpFamily
  /** Port of the API server on the host; 0: the engine chooses. */
  readonly apiServerPort: number
  /** IP address of the API server on the host. */
  readonly apiServerAddress: string
  /** CIDRs in canonical form: one, or with `dual` one of each family, the primary family first. */
  readonly podSubnets: readonly string[]
  /**
   * Prefix lengths of the parts that each node gets of the pod subnets, in their order; patches that set the controller
   * manager's `node-cidr-mask-size` come before.
   */
  readonly nodeMaskSizes: readonly number[]
  /** CIDRs in canonical form, families in the same order as {@link NetworkingSpec.podSubnets}. */
  readonly serviceSubnets: readonly string[]
  readonly disableDefaultCNI: boolean
  readonly kubeProxyMode: KubeProxyMode
  /** DNS search domains of the nodes; an empty list means none, absent means the host's. */
  readonly dnsSearch?: readonly string[]
}

/** Proxy that nodes use to reach the outside. */
export interface ProxySpec {
  readonly httpProxy?: string
  readonly httpsProxy?: string
  /** Comma-separated; has the cluster's subnets, node names and Service domains in it already. */
  readonly noProxy?: string
}

/** Everything that decides how a cluster is made: validated, complete and deeply frozen. */
export interface ClusterSpec {
  readonly name: string
  /** In the order given; at least one is a control plane. */
  readonly nodes: readonly NodeSpec[]
  readonly networking: NetworkingSpec
  /** Kubernetes feature gates, for every component. */
  readonly featureGates: Readonly<Record<string, boolean>>
  /** kube-apiserver's `--runtime-config`; each value is `true` or `false`. */
  readonly runtimeConfig: Readonly<Record<string, string>>
  /** Merge patches (RFC 7386) for the generated kubeadm configuration, one YAML document each. */
  readonly kubeadmConfigPatches: readonly string[]
  readonly kubeadmConfigPatchesJSON6902: readonly Json6902Patch[]
  /** TOML merge patches for containerd's configuration; one whose `version` differs from it does not apply. */
  readonly containerdConfigPatches: readonly string[]
  /** JSON patches (RFC 6902) for containerd's configuration, each the JSON text of a list of operations. */
  readonly containerdConfigPatchesJSON6902: readonly string[]
  /** Registry host (or `*`) to the base URLs asked in its stead, in order. */
  readonly registryMirrors: Readonly<Record<string, readonly string[]>>
  /** Absent: no proxy. */
  readonly proxy?: ProxySpec
  /** There are no nodes and no pods, only a control plane in one container. */
  readonly controlPlaneOnly: boolean
}
