import { expect, test } from 'vitest'
import { passingFailure, withSecondAttempt } from '../../src/boot/second-attempt.ts'
import { MayflyError, type MayflyErrorCode } from '../../src/errors.ts'
import { refusal } from '../../src/kube/status.ts'

const kubeadmFailed = (output: string) =>
  new MayflyError('EXEC_FAILED', '`kubeadm init` failed in "a-control-plane" with exit code 1', { output })

const refused =
  'error execution phase upload-config/kubelet: Get "https://control-plane.mayfly.internal:6443/api": dial tcp 172.28.9.3:6443: connect: connection refused'

test.each<[string, unknown, string | undefined]>([
  [
    'an API server that went away under kubeadm',
    kubeadmFailed(`W0101 deprecated\n${refused}\nTo see the stack trace ...`),
    refused,
  ],
  [
    'an API server that went away under mayfly',
    new MayflyError('KUBE_REQUEST_FAILED', 'Could not list pods: no answer from https://127.0.0.1:1'),
    'Could not list pods: no answer from https://127.0.0.1:1',
  ],
  [
    'an API server that is not ready again',
    new MayflyError('APPLY_FAILED', 'Could not apply a/b', { cause: refusal('apply', 503, 'starting') }),
    'Could not apply a/b',
  ],
])('%s: a reason that may pass', (_, error, reason) => {
  expect(passingFailure(error)).toBe(reason)
})

test.each<[string, unknown]>([
  [
    'an API server that never started',
    kubeadmFailed(
      'error execution phase wait-control-plane: failed while waiting for the control plane to start: dial tcp: connection refused',
    ),
  ],
  ['a field that kubeadm does not know', kubeadmFailed('error: strict decoding error: unknown field "a"')],
  [
    'a kubelet that waited for its API server, as each does',
    kubeadmFailed('error: unknown field "a"\nLogs of node a:\nkubelet:\ndial tcp: connection refused'),
  ],
  ['an object that is refused', refusal('apply', 422, 'spec: Invalid value')],
  ...(['CONFIG_INVALID', 'WAIT_ABORTED', 'WAIT_TIMED_OUT', 'NODE_EXITED'] as MayflyErrorCode[]).map(
    (code): [string, unknown] => [code, new MayflyError(code, 'connection refused')],
  ),
  ['a mistake of our own', new TypeError('connection refused')],
])('%s: no reason that passes', (_, error) => {
  expect(passingFailure(error)).toBeUndefined()
})

test('what failed for a reason that may pass is done once more, and told', async () => {
  const notes: string[] = []
  const failures: unknown[] = [kubeadmFailed(refused)]
  const run = async () => {
    if (failures.length > 0) throw failures.shift()
    return 'made'
  }
  expect(await withSecondAttempt(run, (text) => notes.push(text))).toBe('made')
  expect(notes).toEqual([`The first attempt failed, and is repeated from the start: ${refused}`])

  const last = kubeadmFailed('again: connection refused')
  failures.push(kubeadmFailed(refused), last)
  await expect(withSecondAttempt(run, () => undefined)).rejects.toBe(last)

  const mistake = new MayflyError('CONFIG_INVALID', 'wrong')
  failures.push(mistake)
  await expect(withSecondAttempt(run, (text) => notes.push(text))).rejects.toBe(mistake)
  expect(notes).toHaveLength(1)
})
