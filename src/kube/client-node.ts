import { createRequire } from 'node:module'
import type * as ClientNode from '@kubernetes/client-node'

let loaded: typeof ClientNode | undefined

/**
 * The `@kubernetes/client-node` package, loaded on first use: it is over 500 files and takes half a second, which a run that
 * uses no typed client should not pay.
 */
export function clientNode(): typeof ClientNode {
  loaded ??= createRequire(import.meta.url)('@kubernetes/client-node') as typeof ClientNode
  return loaded
}

/**
 * A KubeConfig whose clients share one connection pool.
 *
 * @kubernetes/client-node 2 makes a new undici Agent for every request (`KubeConfig.applySecurityAuthentication`), so that
 * no connection is ever used twice; the first Agent is kept here and given to all. An Agent that made no
 * connection holds nothing, so the others are simply dropped.
 */
export function sharedKubeConfig(kubeconfigText: string): ClientNode.KubeConfig {
  const { KubeConfig } = clientNode()
  class SharedKubeConfig extends KubeConfig {
    #dispatcher: ReturnType<ClientNode.RequestContext['getDispatcher']>

    override async applySecurityAuthentication(context: ClientNode.RequestContext): Promise<void> {
      await super.applySecurityAuthentication(context)
      this.#dispatcher ??= context.getDispatcher()
      if (this.#dispatcher) context.setDispatcher(this.#dispatcher)
    }
  }
  const config = new SharedKubeConfig()
  config.loadFromString(kubeconfigText)
  return config
}
