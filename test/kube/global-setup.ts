import type { TestProject } from 'vitest/node'
import { createCluster } from '../../src/index.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** Kubeconfig of the one cluster that the tests of this folder share. */
    testKubeconfig: string
  }
}

/** One cluster for all files of this folder. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const cluster = await createCluster({ nodes: ['control-plane'], progress: 'plain' })
  project.provide('testKubeconfig', cluster.kubeconfig)
  return () => cluster.delete()
}
