import type { Operation } from 'rfc6902'
import type { IpFamily, KubeProxyMode, MountPropagation, NodeRole, PortProtocol } from './spec.ts'

/** A folder or file of the host to show inside a node (kind's `extraMounts`). */
export interface MountOptions {
  /** Path on the host; a relative one starts at the config file's folder, or at the current directory. */
  hostPath: string
  /** Absolute path inside the node. */
  containerPath: string
  /** Default false. */
  readOnly?: boolean | undefined
  /** Default false. */
  selinuxRelabel?: boolean | undefined
  /** Default `None`. */
  propagation?: MountPropagation | undefined
}

/** A port of a node to publish on the host (kind's `extraPortMappings`). */
export interface PortMappingOptions {
  /** Port inside the node, 1 to 65535. */
  containerPort: number
  /**
   * Port on the host, 1 to 65535; with 0 or -1 a free one is chosen, which stays the same when the node is stopped and
   * started, and is in `cluster.spec`. Default 0.
   */
  hostPort?: number | undefined
  /** IP address on the host. Default `0.0.0.0`, for an IPv6 cluster `::`. */
  listenAddress?: string | undefined
  /** Default `TCP`; lower case is taken too. */
  protocol?: PortProtocol | Lowercase<PortProtocol> | undefined
}

/** A JSON patch (RFC 6902) for a document of the generated kubeadm configuration. */
export interface Json6902PatchOptions {
  /** API group of the document, for instance `kubeadm.k8s.io`. Default: any. */
  group?: string | undefined
  /** API version of the document, for instance `v1beta4`. Default: any. */
  version?: string | undefined
  /** Kind of the document, for instance `ClusterConfiguration`. */
  kind: string
  /** The operations, or their JSON or YAML text. */
  patch: string | Operation[]
}

/** One node: the fields of kind's v1alpha4 Node, and mayfly's own. */
export interface NodeOptions {
  /** Default `control-plane`. */
  role?: NodeRole | undefined
  /** Reference of the node image. Default {@link ClusterOptions.image}. */
  image?: string | undefined
  /** Labels of the Node object. */
  labels?: Record<string, string> | undefined
  extraMounts?: MountOptions[] | undefined
  extraPortMappings?: PortMappingOptions[] | undefined
  /** Merge patches for the generated kubeadm configuration of this node, one YAML document each. */
  kubeadmConfigPatches?: string[] | undefined
  /** JSON patches for the generated kubeadm configuration of this node. */
  kubeadmConfigPatchesJSON6902?: Json6902PatchOptions[] | undefined
  /**
   * Name of the container, its hostname and the Node object. Default as kind names them:
   * `NAME-control-plane`, `NAME-control-plane2`, `NAME-worker`, `NAME-worker2` and so on. Not in kind.
   */
  name?: string | undefined
  /**
   * Limit in CPUs, for instance `1.5`; it is what the Node object offers pods, but never less than the cluster's own pods
   * ask for (1 on a control plane, 0.2 on a worker). Default: none. Not in kind.
   */
  cpus?: number | undefined
  /**
   * Limit in bytes, or as a Kubernetes quantity such as `'2Gi'`; at least 128Mi. It is what the Node object offers pods.
   * Default: none. Not in kind.
   */
  memory?: string | number | undefined
}

/** The cluster's network: the fields of kind's v1alpha4 Networking. */
export interface NetworkingOptions {
  /** Default `ipv4`. */
  ipFamily?: IpFamily | undefined
  /** Port of the API server on the host; 0 or -1 lets the engine choose. Default 0. */
  apiServerPort?: number | undefined
  /** IP address of the API server on the host. Default `127.0.0.1`, for an IPv6 cluster `::1`. */
  apiServerAddress?: string | undefined
  /**
   * CIDR of pods; for `dual` one of each family, as a list or separated by a comma, the primary family first.
   * Default `10.244.0.0/16` and `fd00:10:244::/56`.
   */
  podSubnet?: string | string[] | undefined
  /** CIDR of Services, as {@link NetworkingOptions.podSubnet}. Default `10.96.0.0/16` and `fd00:10:96::/112`. */
  serviceSubnet?: string | string[] | undefined
  /** Leaves the network daemon out, for a CNI of one's own. Default false. */
  disableDefaultCNI?: boolean | undefined
  /** Default `iptables`. */
  kubeProxyMode?: KubeProxyMode | undefined
  /** DNS search domains of the nodes; an empty list for none. Default: the host's. */
  dnsSearch?: string[] | undefined
}

/** Proxy for the nodes. What is absent comes from HTTP_PROXY, HTTPS_PROXY and NO_PROXY of the environment. */
export interface ProxyOptions {
  httpProxy?: string | undefined
  httpsProxy?: string | undefined
  /** Hosts, domains and CIDRs to reach directly; the cluster's own are added. */
  noProxy?: string | string[] | undefined
}

/** What decides a cluster: the fields of kind's v1alpha4 Cluster, and mayfly's own. */
export interface ClusterFields {
  /** Default `mayfly-` and six random characters. */
  name?: string | undefined
  /** Default: one control plane. */
  nodes?: (NodeRole | NodeOptions)[] | undefined
  networking?: NetworkingOptions | undefined
  /** Kubernetes feature gates, for every component. */
  featureGates?: Record<string, boolean> | undefined
  /** kube-apiserver's `--runtime-config`, for instance `{ 'api/alpha': 'true' }`. */
  runtimeConfig?: Record<string, string | boolean> | undefined
  /** Merge patches (RFC 7386) for the generated kubeadm configuration, one YAML document each. */
  kubeadmConfigPatches?: string[] | undefined
  /** JSON patches (RFC 6902) for the generated kubeadm configuration. */
  kubeadmConfigPatchesJSON6902?: Json6902PatchOptions[] | undefined
  /** TOML merge patches for containerd's configuration. */
  containerdConfigPatches?: string[] | undefined
  /** JSON patches (RFC 6902) for containerd's configuration, each the JSON or YAML text of its operations. */
  containerdConfigPatchesJSON6902?: string[] | undefined
  /** Node image of all nodes. Default {@link DEFAULT_NODE_IMAGE}, or MAYFLY_NODE_IMAGE of the environment. Not in kind. */
  image?: string | undefined
  /**
   * Registry host, or `*` for all, to base URLs asked in its stead:
   * `{ 'docker.io': ['http://registry:5000'] }`. Not in kind.
   */
  registryMirrors?: Record<string, string | string[]> | undefined
  /** Proxy for the nodes; `false` ignores the environment's. Not in kind. */
  proxy?: ProxyOptions | false | undefined
  /**
   * A control plane without nodes: etcd, the API server and the controller manager in one container that needs no
   * privilege. Namespaces finalize, and what is owned is collected; no pod ever runs. Default false. Not in kind.
   */
  controlPlaneOnly?: boolean | undefined
}

/** A kind v1alpha4 Cluster as an object, with mayfly's own fields allowed. */
export interface InlineClusterConfig extends ClusterFields {
  kind?: 'Cluster' | undefined
  apiVersion?: 'kind.x-k8s.io/v1alpha4' | undefined
}

/**
 * How a cluster is described. What is given here wins over the same field of `config`: `networking`,
 * `featureGates`, `runtimeConfig`, `registryMirrors` and `proxy` key by key, everything else, lists included, as a
 * whole. `image` given here replaces the images of `config`'s nodes, as `kind create cluster --image` does.
 */
export interface ClusterOptions extends ClusterFields {
  /** Path of a kind v1alpha4 YAML file, relative to the current directory; or its content as an object. */
  config?: string | InlineClusterConfig | undefined
}
