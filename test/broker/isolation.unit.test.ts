import { expect, test } from 'vitest'
import { isolationInSource } from '../../src/broker/index.ts'

test.each([
  ['in a comment of one line', '// @mayfly-isolation rollback\n'],
  ['in a docblock', '/**\n * About this file.\n *\n * @mayfly-isolation rollback\n */\n'],
  ['in a short docblock', '/** @mayfly-isolation rollback */'],
  [
    'behind what may precede it',
    '\uFEFF#!/usr/bin/env node\n// @ts-nocheck\n\n/* eslint-disable */ /** @mayfly-isolation rollback */',
  ],
])('a file chooses its isolation %s', (_, comments) => {
  expect(isolationInSource(`${comments}\nimport { test } from 'vitest'\n`, 'a.test.ts')).toBe('rollback')
})

test.each([
  ['says nothing', "import { test } from 'vitest'\n"],
  ['is empty', ''],
  ['speaks of it below its first code', "import 'vitest'\n/** @mayfly-isolation rollback */\n"],
  ['speaks of it in a text', "const usage = '@mayfly-isolation rollback'\n"],
  ['has another pragma', '/** @mayfly-isolations rollback */\n'],
])('a file that %s chooses none', (_, source) => {
  expect(isolationInSource(source, 'a.test.ts')).toBeUndefined()
})

test.each([
  ['rolback', '/** @mayfly-isolation rolback */'],
  ['', '/** @mayfly-isolation */'],
])('what is no isolation is refused: "%s"', (word, source) => {
  expect(() => isolationInSource(source, 'a.test.ts')).toThrow(
    `@mayfly-isolation of a.test.ts is "${word}"\n→ Choose one of run, namespace, rollback, cluster`,
  )
})
