import { readFileSync } from 'node:fs'
import { onTestFinished } from 'vitest'
import { connectKube, create, type Kube, remove } from '../../src/kube/index.ts'

/**
 * The cluster that the tests of this folder run on.
 *
 * @throws Error without one: a test that is silently left out proves nothing
 */
export function testCluster(): Kube {
  const path = process.env['MAYFLY_TEST_KUBECONFIG']
  if (!path)
    throw new Error('Set MAYFLY_TEST_KUBECONFIG to the path of a kubeconfig of a cluster made for tests')
  return connectKube(readFileSync(path, 'utf8'))
}

/** A namespace of the test's own, deleted after it. */
export async function testNamespace(kube: Kube): Promise<string> {
  const { metadata } = await create(kube, {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { generateName: 'kube-test-' },
  })
  const name = metadata.name ?? ''
  onTestFinished(async () => {
    await remove(kube, { kind: 'Namespace', name })
  })
  return name
}

/** An image with a BusyBox shell that every node has. */
export const shellImage = 'docker.io/mayfly/local-path-helper:v1'

/** A pod, or a pod template, whose containers each run a shell script. */
export function scripts(containers: Record<string, string>, more: object = {}) {
  return {
    terminationGracePeriodSeconds: 0,
    containers: Object.entries(containers).map(([name, script]) => ({
      name,
      image: shellImage,
      command: ['sh', '-c', script],
      ...more,
    })),
  }
}
