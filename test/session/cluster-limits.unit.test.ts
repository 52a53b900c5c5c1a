import { expect, test } from 'vitest'
import { type CreateClusterOptions, clusterSpecOf } from '../../src/cluster/index.ts'
import { reasonForOneOnly } from '../../src/session/cluster-limits.ts'

const reasonOf = async (options: object) =>
  reasonForOneOnly(options as CreateClusterOptions, await clusterSpecOf(options as CreateClusterOptions))

test.each([
  ['mayfly chooses everything', {}],
  ['only the cluster is named', { name: 'shop', nodes: ['control-plane', 'worker'] as const }],
  ['the name is as long as names can be', { name: 'a'.repeat(49) }],
  ['the engine chooses a port', { nodes: [{ extraPortMappings: [{ containerPort: 80 }] }] }],
])('there can be many clusters where %s', async (_, options) => {
  expect(await reasonOf(options)).toBeUndefined()
})

test.each([
  ['networking.apiServerPort is 7443', { networking: { apiServerPort: 7443 } }],
  [
    'port 8080 of the host leads to a node',
    { nodes: [{ extraPortMappings: [{ containerPort: 80, hostPort: 8080 }] }] },
  ],
  ['a node is named gateway', { nodes: ['control-plane', { role: 'worker', name: 'gateway' }] }],
])('there can be one cluster only because %s', async (reason, options) => {
  expect(await reasonOf(options)).toBe(reason)
})
