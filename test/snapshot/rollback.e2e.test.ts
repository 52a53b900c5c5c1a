import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Cluster, createCluster, getCluster, type Snapshot } from '../../src/index.ts'
import { list } from '../../src/kube/index.ts'
import { run, webPod } from '../cluster/pods.ts'
import { ordinarySuite } from './suite.ts'

let cluster: Cluster
let pristine: Snapshot

beforeAll(async () => {
  cluster = await createCluster({ nodes: ['control-plane', 'worker'] })
  pristine = await cluster.snapshot('pristine', { objects: true })
})
afterAll(() => cluster?.delete())

/** Takes the cluster back, with every object compared, and shows that it works. */
async function backToPristine() {
  const report = await cluster.rollback(pristine, { verify: 'full' })
  return { ...report, ...(await report.settled) }
}

/** Processes on the nodes that the shell of the suites' pods runs in. */
async function stubbornProcesses(): Promise<string> {
  const nodes = await Promise.all(cluster.nodes.map((node) => node.exec(['pgrep', '-f', '^sh -c trap'], {})))
  return nodes.map(({ stdout }) => stdout).join('')
}

describe('a snapshot', () => {
  test('tells what it holds, and can be found again by its name or as the last one', async () => {
    expect(pristine).toMatchObject({
      name: 'pristine',
      cluster: cluster.name,
      nodes: cluster.nodes.map(({ name }) => name),
      settled: true,
    })
    expect(pristine.keys).toBeGreaterThan(250)
    // From another process as well: everything that is known of it is in the cluster.
    await using found = await getCluster(cluster.name)
    expect(await found.rollback('pristine')).toMatchObject({ snapshot: 'pristine', way: 'in-place' })
    expect(await found.rollback()).toMatchObject({ snapshot: 'pristine' })
  })

  test('has a name that can be a folder', async () => {
    await expect(cluster.snapshot('../etc')).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
    await expect(cluster.rollback('nowhere')).rejects.toMatchObject({ code: 'SNAPSHOT_NOT_FOUND' })
  })
})

describe('after a roll-back nothing is left of', () => {
  test('an ordinary suite, again and again', async () => {
    for (const round of [1, 2, 3]) {
      await ordinarySuite(cluster.kube)
      expect(await stubbornProcesses()).not.toBe('')
      const report = await backToPristine()
      expect(report, `round ${round}`).toMatchObject({ way: 'in-place', pending: [] })
      expect(report.endedPods).toBeGreaterThanOrEqual(5)
      expect(await stubbornProcesses()).toBe('')
    }
    const namespaces = await list(cluster.kube, { apiVersion: 'v1', kind: 'Namespace' })
    expect(namespaces.map(({ metadata }) => metadata.name)).not.toContain('shop')
    await run(cluster.kube, webPod('after'))
    await backToPristine()
  })
})
