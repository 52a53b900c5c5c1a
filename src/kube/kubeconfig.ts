import { readFile } from 'node:fs/promises'
import type { RequestOptions } from 'node:https'
import { parse } from 'yaml'
import { MayflyError } from '../errors.ts'
import { clientNode } from './client-node.ts'

/** Where an API server is and how to log in to it. */
export interface Access {
  /** Base URL, without a slash at its end. */
  server: URL
  /** Namespace of the kubeconfig's current context, `default` where it names none. */
  namespace: string
  /** TLS options and headers for one request; cheap to ask again and again. */
  credentials(): Promise<
    Pick<RequestOptions, 'ca' | 'cert' | 'key' | 'servername' | 'rejectUnauthorized' | 'agent'> & {
      headers: Record<string, string>
    }
  >
}

interface KubeconfigCluster {
  server?: string
  'certificate-authority'?: string
  'certificate-authority-data'?: string
  'tls-server-name'?: string
  'insecure-skip-tls-verify'?: boolean
  'proxy-url'?: string
}

interface KubeconfigUser {
  'client-certificate'?: string
  'client-certificate-data'?: string
  'client-key'?: string
  'client-key-data'?: string
  token?: string
  tokenFile?: string
  username?: string
  password?: string
  exec?: unknown
  'auth-provider'?: unknown
  as?: string
}

interface Kubeconfig {
  'current-context'?: string
  contexts?: { name: string; context: { cluster: string; user: string; namespace?: string } }[]
  clusters?: { name: string; cluster: KubeconfigCluster }[]
  users?: { name: string; user: KubeconfigUser }[]
}

/**
 * Reads the current context of a kubeconfig
 * (https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/). Log-in plugins, proxies and impersonation are left to
 * `@kubernetes/client-node`, which is loaded only for them.
 *
 * @throws MayflyError `CONFIG_INVALID` when the text is no kubeconfig or its current context leads nowhere
 */
export function readAccess(kubeconfigText: string): Access {
  const { cluster, user, namespace } = currentContext(kubeconfigText)
  if (!cluster.server || !URL.canParse(cluster.server)) {
    throw new MayflyError(
      'CONFIG_INVALID',
      `The kubeconfig names no API server: server is ${JSON.stringify(cluster.server)}`,
    )
  }
  const server = new URL(cluster.server.replace(/\/+$/, ''))
  if (user.exec || user['auth-provider'] || user.as || cluster['proxy-url']) {
    return { server, namespace, credentials: credentialsOfClientNode(kubeconfigText) }
  }
  let fixed: Promise<Awaited<ReturnType<Access['credentials']>>> | undefined
  return {
    server,
    namespace,
    credentials() {
      fixed ??= fixedCredentials(cluster, user)
      return fixed
    },
  }
}

function currentContext(kubeconfigText: string) {
  let config: Kubeconfig | null
  try {
    config = parse(kubeconfigText) as Kubeconfig | null
  } catch (cause) {
    throw new MayflyError('CONFIG_INVALID', 'The kubeconfig is not valid YAML', { cause })
  }
  const name = config?.['current-context']
  const context = config?.contexts?.find((entry) => entry.name === name)?.context
  if (!config || !context) {
    const known = config?.contexts?.map((entry) => entry.name).join(', ') || 'none'
    throw new MayflyError(
      'CONFIG_INVALID',
      `The kubeconfig's current context ${JSON.stringify(name ?? '')} is not in it; contexts: ${known}`,
      {
        hint: 'Pass the text of a kubeconfig, not the path of its file, and set current-context in it',
      },
    )
  }
  const cluster = config.clusters?.find((entry) => entry.name === context.cluster)?.cluster
  const user = config.users?.find((entry) => entry.name === context.user)?.user
  if (!cluster) {
    throw new MayflyError(
      'CONFIG_INVALID',
      `The kubeconfig's context ${name} names the cluster ${context.cluster}, which is not in it`,
    )
  }
  return { cluster, user: user ?? {}, namespace: context.namespace ?? 'default' }
}

async function fixedCredentials(cluster: KubeconfigCluster, user: KubeconfigUser) {
  const [ca, cert, key, token] = await Promise.all([
    dataOrFile(cluster['certificate-authority-data'], cluster['certificate-authority']),
    dataOrFile(user['client-certificate-data'], user['client-certificate']),
    dataOrFile(user['client-key-data'], user['client-key']),
    user.token ?? (user.tokenFile && readFile(user.tokenFile, 'utf8').then((text) => text.trim())),
  ])
  const authorization = token
    ? `Bearer ${token}`
    : user.username && `Basic ${Buffer.from(`${user.username}:${user.password ?? ''}`).toString('base64')}`
  return {
    ...(ca && { ca }),
    ...(cert && { cert }),
    ...(key && { key }),
    ...(cluster['tls-server-name'] && { servername: cluster['tls-server-name'] }),
    ...(cluster['insecure-skip-tls-verify'] && { rejectUnauthorized: false }),
    headers: authorization ? { authorization } : ({} as Record<string, string>),
  }
}

async function dataOrFile(base64: string | undefined, path: string | undefined): Promise<Buffer | undefined> {
  if (base64) return Buffer.from(base64, 'base64')
  return path ? readFile(path) : undefined
}

function credentialsOfClientNode(kubeconfigText: string): Access['credentials'] {
  return async () => {
    const { KubeConfig } = clientNode()
    const config = new KubeConfig()
    config.loadFromString(kubeconfigText)
    const options: RequestOptions & { headers: Record<string, string> } = { headers: {} }
    await config.applyToHTTPSOptions(options)
    return options as Awaited<ReturnType<Access['credentials']>>
  }
}
