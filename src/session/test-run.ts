import { type Diagnosis, diagnose, recordLogs } from './diagnostics.ts'
import type { FileCluster } from './file-cluster.ts'
import type { TestLimits } from './limits.ts'
import { createNamespace, deleteNamespace, TestNamespace } from './namespace.ts'

/** The namespace of one test, from its start to its end. */
export interface NamespaceLease {
  namespace: TestNamespace
  /** Finds out what is known of the namespace when the test failed, and asks for the namespace's deletion. */
  end(outcome: { failed: boolean; errors: string[] }): Promise<Diagnosis | undefined>
}

/**
 * Gives a test a namespace, and follows the logs in it and of what the manifests of the run have put into others. With
 * isolation `run` it is the one that all tests work in, and stays.
 */
export async function leaseNamespace(
  { cluster, context }: Pick<FileCluster, 'cluster' | 'context'>,
  testName: string,
  test: TestLimits,
): Promise<NamespaceLease> {
  const { kube, load } = cluster
  const { isolation, keepFailedNamespaces, manifestNamespaces, diagnosticsDir } = context
  const isShared = isolation === 'run'
  const started = new Date()
  const namespace = isShared
    ? new TestNamespace(kube, kube.access.namespace, load, test)
    : await createNamespace(kube, testName, load, test)
  const recording = recordLogs(kube, [...new Set([namespace.name, ...manifestNamespaces])], started)
  return {
    namespace,
    async end({ failed, errors }) {
      let diagnosis: Diagnosis | undefined
      try {
        if (failed) {
          diagnosis = await diagnose(kube, namespace.name, recording, { testName, errors, diagnosticsDir })
          if (keepFailedNamespaces && !isShared)
            diagnosis.text += `\n  Namespace ${namespace.name} was kept, as asked`
        }
      } finally {
        await recording[Symbol.asyncDispose]()
        if (!isShared && !(failed && keepFailedNamespaces)) await deleteNamespace(namespace)
      }
      return diagnosis
    },
  }
}
