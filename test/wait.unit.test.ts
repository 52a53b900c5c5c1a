import { expect, test } from 'vitest'
import { restMs, until, withinDeadline } from '../src/wait.ts'

const never = async () => undefined

test('one deadline ends every wait that has it, as time that is up', async () => {
  const signal = withinDeadline({ timeoutMs: 30 })
  const limits = { timeoutMs: 60_000, signal, intervalMs: 5 }
  const late = { code: 'WAIT_TIMED_OUT', message: expect.stringContaining('Waited 0.03 s for the') }
  await expect(until('the first', never, limits)).rejects.toMatchObject(late)
  await expect(until('the second', never, limits)).rejects.toMatchObject(late)
})

test('a caller that gives up is told apart from it', async () => {
  const caller = new AbortController()
  const signal = withinDeadline({ timeoutMs: 60_000, signal: caller.signal })
  const waiting = until('it', never, { timeoutMs: 60_000, signal, intervalMs: 5 })
  caller.abort()
  await expect(waiting).rejects.toMatchObject({ code: 'WAIT_ABORTED' })
})

test('a wait of its own that is shorter ends by itself', async () => {
  const signal = withinDeadline({ timeoutMs: 60_000 })
  await expect(until('it', never, { timeoutMs: 20, signal, intervalMs: 5 })).rejects.toMatchObject({
    code: 'WAIT_TIMED_OUT',
    message: expect.stringContaining('Waited 0.02 s'),
  })
})

test('looks get rarer when a wait has become long', () => {
  expect(restMs(50, 0)).toBe(50)
  expect(restMs(50, 5000)).toBe(50)
  expect(restMs(50, 90_000)).toBe(900)
})
