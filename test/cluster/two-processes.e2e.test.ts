import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Cluster, getCluster } from '../../src/index.ts'
import { label } from '../../src/reaper/index.ts'
import { nothingLeft } from '../faults/leftovers.ts'
import { namesOf, run, systemPods, webPod } from './pods.ts'

const processes: ChildProcess[] = []
const clusters: Cluster[] = []

/** Starts a process that creates a cluster, and gives the cluster's name. */
async function clusterOfAnotherProcess(): Promise<string> {
  const child = spawn(process.execPath, [resolve('test/cluster/cluster-of-its-own.ts')], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  processes.push(child)
  for await (const name of createInterface({ input: child.stdout })) return name
  throw new Error('the process ended before it had a cluster')
}

beforeAll(async () => {
  const names = await Promise.all([clusterOfAnotherProcess(), clusterOfAnotherProcess()])
  for (const name of names) clusters.push(await getCluster(name))
})
afterAll(async () => {
  for (const cluster of clusters) await cluster[Symbol.asyncDispose]()
  for (const child of processes) child.kill()
})

describe('clusters of one node that two processes make at once', () => {
  test('have names, subnets and ports of their own', () => {
    const different = (of: (cluster: Cluster) => string | undefined) =>
      expect(new Set(clusters.map(of)).size).toBe(2)
    different(({ name }) => name)
    different(({ nodes }) => nodes[0]?.addresses[0]?.replace(/\d+$/, ''))
    different(({ kubeconfig }) => /server: (.*)/.exec(kubeconfig)?.[1])
  })

  test('are what kind makes', async () => {
    for (const { kube, name } of clusters) {
      expect(await systemPods(kube, name)).toEqual([
        'coredns-*',
        'coredns-*',
        'etcd-NAME-control-plane',
        'kindnet-*',
        'kube-apiserver-NAME-control-plane',
        'kube-controller-manager-NAME-control-plane',
        'kube-proxy-*',
        'kube-scheduler-NAME-control-plane',
      ])
      expect(await namesOf(kube, 'Pod', 'local-path-storage')).toEqual([
        expect.stringMatching(/^local-path-provisioner-/),
      ])
      expect(await namesOf(kube, 'Service')).toEqual(['kube-dns', 'kubernetes'])
      expect(await namesOf(kube, 'Node')).toEqual([`${name}-control-plane`])
    }
  })

  test('run pods', async () => {
    await Promise.all(clusters.map(({ kube }) => run(kube, webPod('web'))))
  })

  test('tell kubectl of themselves from this host', async () => {
    for (const cluster of clusters) {
      const { stdout } = await cluster.kubectl(['cluster-info'])
      const [server = 'no server'] = /https:\/\/.*/.exec(cluster.kubeconfig) ?? []
      expect(stdout).toContain(server)
      expect(stdout).toContain('CoreDNS')
    }
  })

  test('are deleted by their processes, and nothing is left', async () => {
    const ends = processes.map(async (child) => {
      child.stdin?.end()
      const [exitCode] = await once(child, 'exit')
      return exitCode as number
    })
    expect(await Promise.all(ends)).toEqual([0, 0])
    for (const { name } of clusters) await nothingLeft({ [label.cluster]: name })
  })
})
