import { isIPv6 } from 'node:net'
import {
  type Authority,
  type CertifiedKey,
  type ClusterAuthorities,
  issueCertificate,
  issueClientCertificate,
} from './authorities.ts'
import { clientKubeconfig, kubeconfig } from './kubeconfig.ts'
import { subjectAltNames } from './subject-alt-names.ts'

/** A file, or a symbolic link, that belongs on a node. */
export type PkiFile = {
  /** Absolute path on the node, e.g. `/etc/kubernetes/pki/apiserver.crt`. */
  path: string
} & (
  | {
      content: string
      /** Permissions; the owner is root. Keys, `sa.pub` and kubeconfigs are 0600, as kubeadm writes them. */
      mode: 0o600 | 0o644
    }
  | { linkTo: string }
)

/** What every node has to know of its cluster. */
export interface ClusterAddress {
  /** Name of the cluster, as the kubeconfigs on the nodes call it. */
  name: string
  /** URL at which nodes reach the API server, e.g. `https://NAME-control-plane:6443`: behind a load balancer, its. */
  apiServerEndpoint: string
}

/** What the certificates of a control-plane node depend on besides the node. */
export interface ControlPlaneCluster extends ClusterAddress {
  /** Address of the Service `default/kubernetes`, the first of each service subnet; one or, in dual-stack, two. */
  serviceIps: readonly string[]
  /** More names and addresses for the API server, e.g. the host's; may be empty. */
  extraSans: readonly string[]
  /** DNS domain of the cluster; default `cluster.local`. */
  dnsDomain?: string
}

/** A control-plane node. */
export interface ControlPlaneNode {
  name: string
  /** Its addresses, the one that it advertises first. */
  ips: readonly string[]
  /**
   * URL of the API server on this node, for the controller manager and scheduler beside it; default: port 6443 on
   * the first of `ips`.
   */
  localApiServer?: string
}

const kubernetesFolder = '/etc/kubernetes'
const pkiFolder = `${kubernetesFolder}/pki`
const kubeletPkiFolder = '/var/lib/kubelet/pki'
const loopback = ['localhost', '127.0.0.1', '::1']

/**
 * All files that `kubeadm init` leaves in `/etc/kubernetes` on a control-plane node, except the manifests, and the
 * kubelet's client certificate; the same names, subjects, purposes and alternative names (kubeadm's
 * `phases/certs/certlist.go` and `phases/kubeconfig/kubeconfig.go`), with these differences:
 * - the API server's certificate is good for localhost too, and for all addresses of the node;
 * - `apiserver-kubelet-client` is in the group `kubeadm:cluster-admins` also where kubeadm 1.36 and newer bind its
 *   user instead, so that one certificate fits every Kubernetes since 1.29.
 *
 * Throws a MayflyError `CONFIG_INVALID` for a name that no certificate can be made out to.
 */
export async function controlPlaneFiles(
  authorities: ClusterAuthorities,
  node: ControlPlaneNode,
  cluster: ControlPlaneCluster,
): Promise<PkiFile[]> {
  const { ca, etcdCa, frontProxyCa, serviceAccount } = authorities
  const { dnsDomain = 'cluster.local' } = cluster
  const shared = { name: cluster.name, server: cluster.apiServerEndpoint }
  const local = { name: cluster.name, server: node.localApiServer ?? localApiServer(node) }

  const apiServerNames = subjectAltNames([
    node.name,
    'kubernetes',
    'kubernetes.default',
    'kubernetes.default.svc',
    `kubernetes.default.svc.${dnsDomain}`,
    hostOf(cluster.apiServerEndpoint),
    ...cluster.serviceIps,
    ...node.ips,
    ...loopback,
    ...cluster.extraSans,
  ])
  // etcd's server is a client of its peers and, behind the gateway, of itself: etcd-io/etcd#9785.
  const etcdMember = {
    subject: { commonName: node.name },
    purposes: ['serverAuth', 'clientAuth'],
    names: subjectAltNames([node.name, ...node.ips, ...loopback]),
  } as const

  const files = await Promise.all([
    keyAndCertificate('ca', ca),
    keyAndCertificate('etcd/ca', etcdCa),
    keyAndCertificate('front-proxy-ca', frontProxyCa),
    [
      { path: `${pkiFolder}/sa.key`, content: serviceAccount.privateKey, mode: 0o600 },
      { path: `${pkiFolder}/sa.pub`, content: serviceAccount.publicKey, mode: 0o600 },
    ] satisfies PkiFile[],
    keyAndCertificate(
      'apiserver',
      issueCertificate(ca, {
        subject: { commonName: 'kube-apiserver' },
        purposes: ['serverAuth'],
        names: apiServerNames,
      }),
    ),
    client('apiserver-kubelet-client', ca, 'kube-apiserver-kubelet-client', ['kubeadm:cluster-admins']),
    client('apiserver-etcd-client', etcdCa, 'kube-apiserver-etcd-client'),
    client('front-proxy-client', frontProxyCa, 'front-proxy-client'),
    keyAndCertificate('etcd/server', issueCertificate(etcdCa, etcdMember)),
    keyAndCertificate('etcd/peer', issueCertificate(etcdCa, etcdMember)),
    client('etcd/healthcheck-client', etcdCa, 'kube-etcd-healthcheck-client'),
    config('admin', ca, shared, 'kubernetes-admin', ['kubeadm:cluster-admins']),
    config('super-admin', ca, shared, 'kubernetes-super-admin', ['system:masters']),
    config('controller-manager', ca, local, 'system:kube-controller-manager'),
    config('scheduler', ca, local, 'system:kube-scheduler'),
    kubeletConfig(ca, shared, node.name),
  ])
  return files.flat()
}

/**
 * A worker's files: the certificate of the authority, for the kubelet to know its clients by, the kubelet's own, and
 * `kubelet.conf`.
 */
export async function workerFiles(
  authorities: ClusterAuthorities,
  node: { name: string },
  cluster: ClusterAddress,
): Promise<PkiFile[]> {
  const server = { name: cluster.name, server: cluster.apiServerEndpoint }
  return [
    { path: `${pkiFolder}/ca.crt`, content: authorities.ca.certificate, mode: 0o644 },
    ...(await kubeletConfig(authorities.ca, server, node.name)),
  ]
}

function keyAndCertificate(baseName: string, { certificate, privateKey }: CertifiedKey): PkiFile[] {
  return [
    { path: `${pkiFolder}/${baseName}.crt`, content: certificate, mode: 0o644 },
    { path: `${pkiFolder}/${baseName}.key`, content: privateKey, mode: 0o600 },
  ]
}

async function client(
  baseName: string,
  authority: Authority,
  commonName: string,
  organizations: readonly string[] = [],
): Promise<PkiFile[]> {
  return keyAndCertificate(baseName, await issueClientCertificate(authority, { commonName, organizations }))
}

async function config(
  baseName: string,
  ca: Authority,
  cluster: { name: string; server: string },
  commonName: string,
  organizations: readonly string[] = [],
): Promise<PkiFile[]> {
  const content = await clientKubeconfig(ca, { ...cluster, commonName, organizations })
  return [{ path: `${kubernetesFolder}/${baseName}.conf`, content, mode: 0o600 }]
}

/**
 * The kubelet's certificate lies where the kubelet itself would put one that it has asked the cluster for, under the names
 * of client-go's `util/certificate/certificate_store.go`: a kubelet that finds none there asks for one as soon as it
 * starts, and closes its connections when it has it.
 */
async function kubeletConfig(
  ca: Authority,
  { name, server }: { name: string; server: string },
  nodeName: string,
): Promise<PkiFile[]> {
  // The node authorizer and NodeRestriction know a kubelet by exactly this user and group.
  const commonName = `system:node:${nodeName}`
  const client = await issueClientCertificate(ca, { commonName, organizations: ['system:nodes'] })
  const file = `${kubeletPkiFolder}/kubelet-client-current.pem`
  const issued = `${kubeletPkiFolder}/kubelet-client-issued.pem`
  const content = kubeconfig({ name, server, user: commonName, caPem: ca.certificate, client: { file } })
  return [
    { path: `${kubernetesFolder}/kubelet.conf`, content, mode: 0o600 },
    { path: issued, content: `${client.certificate}${client.privateKey}`, mode: 0o600 },
    { path: file, linkTo: issued },
  ]
}

function localApiServer({ ips: [advertised = '127.0.0.1'] }: ControlPlaneNode): string {
  return `https://${isIPv6(advertised) ? `[${advertised}]` : advertised}:6443`
}

function hostOf(url: string): string {
  return new URL(url).hostname.replace(/^\[(.*)\]$/, '$1')
}
