import { inspect } from 'node:util'
import { expect, test } from 'vitest'
import { amended, MayflyError } from '../src/errors.ts'

const refusal = new Error('connection refused')
const original = new MayflyError('WAIT_TIMED_OUT', 'Waited 3 s for the API server', {
  hint: 'Give it longer',
  output: 'etcd: no space left',
  cause: refusal,
})

test('an error is a sentence, what to do about it, and what was printed', () => {
  expect(original.message).toBe('Waited 3 s for the API server\n→ Give it longer\n    etcd: no space left')
})

test('an amended error takes the place of the other: nothing is told twice', () => {
  const error = amended(amended(original, { hint: 'Give it longer. The logs are in x' }), {
    output: 'etcd: no space left\nkubelet: evicted',
  })
  expect(error).toMatchObject({ code: 'WAIT_TIMED_OUT', cause: refusal })
  expect(error.message).toBe(
    'Waited 3 s for the API server\n→ Give it longer. The logs are in x\n    etcd: no space left\n    kubelet: evicted',
  )
  expect(error.stack?.split('\n    at ').slice(1)).toEqual(original.stack?.split('\n    at ').slice(1))
})

test('hint and output are told once, in the message, when an error is printed', () => {
  expect(inspect(original).match(/no space left/g)).toHaveLength(1)
  expect(original).toMatchObject({ hint: 'Give it longer', output: 'etcd: no space left' })
})
