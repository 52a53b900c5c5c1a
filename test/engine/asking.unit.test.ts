import { expect, test } from 'vitest'
import { engineError, engineStatus } from '../../src/engine/asking.ts'

const engine = { describe: () => 'Podman 4.3.1' }
const refusal = (statusCode: number, cause: string) =>
  engineError(
    engine,
    'create network "a"',
    undefined,
    Object.assign(new Error('(HTTP code)'), { statusCode, json: { message: cause, cause } }),
  )

test.each([
  ['that name is already in use'],
  ['network already exists'],
  ['network is being used'],
  ['container state improper'],
])("Podman's %s is a conflict", (cause) => {
  expect(engineStatus(refusal(500, cause))).toBe(409)
})

test('every other status is what the engine answered', () => {
  expect(engineStatus(refusal(500, 'disk full'))).toBe(500)
  expect(engineStatus(refusal(404, 'no such container'))).toBe(404)
  expect(engineStatus(new Error('no answer'))).toBeUndefined()
})
