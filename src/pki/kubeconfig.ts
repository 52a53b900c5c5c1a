import { Buffer } from 'node:buffer'
import { stringify } from 'yaml'
import {
  type Authority,
  type CertifiedKey,
  type ClusterAuthorities,
  issueClientCertificate,
} from './authorities.ts'

/** What goes into a kubeconfig for one cluster and one user. */
export interface KubeconfigParts {
  /** What the kubeconfig calls the cluster. */
  name: string
  /** URL of the API server. */
  server: string
  /** Certificate of the authority that signed the API server's, in PEM. */
  caPem: string
  /** The client's certificate and key, or the path of a file that has both in PEM where the kubeconfig is read. */
  client: CertifiedKey | { file: string }
  /** What the kubeconfig calls the user; default: the same as the cluster. */
  user?: string
  /** What the kubeconfig calls the context, which is also the current one; default `user@name`, as kubeadm does. */
  context?: string
}

/**
 * A kubeconfig (`v1 Config` of client-go's clientcmd) as YAML, with everything embedded: it refers to no other file than
 * `client.file`.
 */
export function kubeconfig({
  name,
  server,
  caPem,
  client,
  user = name,
  context = `${user}@${name}`,
}: KubeconfigParts): string {
  return stringify(
    {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name, cluster: { 'certificate-authority-data': base64(caPem), server } }],
      contexts: [{ name: context, context: { cluster: name, user } }],
      'current-context': context,
      users: [{ name: user, user: credentials(client) }],
    },
    { lineWidth: 0 },
  )
}

/**
 * The kubeconfig that the host gets: cluster, user and context are all called `mayfly-NAME`, so that those of many
 * clusters can be merged into one file.
 *
 * Its user is in `system:masters`, which the API server lets do everything without asking RBAC, and not in
 * `kubeadm:cluster-admins` like the user of `admin.conf`: a test that breaks or deletes RBAC objects must still be
 * able to look and to clean up.
 */
export async function adminKubeconfig(
  authorities: ClusterAuthorities,
  {
    name,
    server,
  }: {
    /** Name of the cluster, without the `mayfly-`. */
    name: string
    /** URL of the API server as the host reaches it. */
    server: string
  },
): Promise<string> {
  const title = `mayfly-${name}`
  return clientKubeconfig(authorities.ca, {
    name: title,
    server,
    user: title,
    context: title,
    commonName: 'mayfly-admin',
    organizations: ['system:masters'],
  })
}

/** A kubeconfig with a newly issued client certificate; the user is called by its common name unless told. */
export async function clientKubeconfig(
  ca: Authority,
  {
    commonName,
    organizations = [],
    user = commonName,
    ...rest
  }: Pick<KubeconfigParts, 'name' | 'server' | 'user' | 'context'> & {
    commonName: string
    organizations?: readonly string[]
  },
): Promise<string> {
  const client = await issueClientCertificate(ca, { commonName, organizations })
  return kubeconfig({ ...rest, user, caPem: ca.certificate, client })
}

function credentials(client: KubeconfigParts['client']): Record<string, string> {
  if ('file' in client) return { 'client-certificate': client.file, 'client-key': client.file }
  return {
    'client-certificate-data': base64(client.certificate),
    'client-key-data': base64(client.privateKey),
  }
}

function base64(text: string): string {
  return Buffer.from(text, 'utf8').toString('base64')
}
