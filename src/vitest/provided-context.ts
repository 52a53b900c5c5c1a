import type { MayflyContext } from '../session/worker.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** Kubeconfig of the run's cluster, as text, for this host. */
    kubeconfig: string
    /** All that there is to know of the run's cluster. */
    mayfly: MayflyContext
    /** Why the cluster is not what it should be, in watch mode. @internal */
    mayflyFailure: string | undefined
  }
}

export type { MayflyContext }
