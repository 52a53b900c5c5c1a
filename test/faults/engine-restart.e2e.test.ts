import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { DEFAULT_NODE_IMAGE } from '../../src/config/index.ts'
import { canRunEngine, type PrivateEngine, startPrivateEngine } from '../engines/private-engine.ts'

const program = join(import.meta.dirname, 'restart-child.ts')

describe.runIf(canRunEngine())('a cluster comes back after its engine', () => {
  let engine: PrivateEngine

  beforeAll(async () => {
    engine = await startPrivateEngine(process.env['MAYFLY_NODE_IMAGE'] || DEFAULT_NODE_IMAGE)
  })
  afterAll(() => engine?.[Symbol.asyncDispose]())

  test('when it was stopped, and when it was killed: two control planes behind a load balancer', async () => {
    const nodes = ['control-plane', 'control-plane']
    {
      await using owner = engine.program(program, JSON.stringify({ name: 'back', nodes }))
      expect(await owner.told()).toBe('created')
      const ports = await engine.docker('ps', '--format', '{{.Ports}}')
      for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
        await engine.restart(signal)
        // Nobody but the engine itself has started them.
        const states = (await engine.docker('ps', '--all', '--format', '{{.Status}}')).split('\n')
        expect(states, `after ${signal}`).toEqual(Array(nodes.length + 1).fill(expect.stringMatching(/^Up /)))
        expect(await engine.docker('ps', '--format', '{{.Ports}}')).toBe(ports)

        owner.tell('restarted')
        const { nameOfNode, ...facts } = JSON.parse(await owner.told())
        expect(facts, `after ${signal}`).toEqual({ sameServer: true, oldHandle: 'ok', service: 'web' })
        expect(nameOfNode).toMatch(/Name:\s+back-/)
      }
    }
    const left = await Promise.all([
      engine.docker('ps', '--all', '--quiet'),
      engine.docker('volume', 'ls', '--quiet'),
      engine.docker('network', 'ls', '--quiet', '--filter', 'type=custom'),
    ])
    expect(left).toEqual(['', '', ''])
  })
})
