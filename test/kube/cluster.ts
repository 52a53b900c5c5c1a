import { inject, onTestFinished } from 'vitest'
import { connectKube, create, type Kube, remove } from '../../src/kube/index.ts'
import type {} from './global-setup.ts'

/** The cluster that the tests of this folder run on; `global-setup.ts` makes it. */
export function testCluster(): Kube {
  return connectKube(inject('testKubeconfig'))
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
