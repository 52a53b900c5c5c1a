import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { requireNode } from '../../src/node-version.ts'

test.each(['22.18.0', '24.0.0', '26.1.0'])('Node.js %s will do', (version) => {
  expect(() => requireNode(version)).not.toThrow()
})

test.each(['18.20.0', '20.20.2', '22.17.1'])('Node.js %s is refused with what is needed', (version) => {
  expect(() => requireNode(version)).toThrow(`needs Node.js 22.18, 24 or newer; this is ${version}`)
})

test('package.json asks for the same', () => {
  const { engines } = JSON.parse(readFileSync(`${import.meta.dirname}/../../package.json`, 'utf8'))
  expect(engines.node).toBe('^22.18.0 || ^24.0.0 || >=26.0.0')
})
