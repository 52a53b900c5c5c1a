import { expect, test } from 'vitest'
import { connectKube } from '../../src/kube/index.ts'

const kubeconfig = {
  'current-context': 'a',
  contexts: [{ name: 'a', context: { cluster: 'c', user: 'u', namespace: 'shop' } }],
  clusters: [{ name: 'c', cluster: { server: 'https://127.0.0.1:6443/' } }],
  users: [{ name: 'u', user: { token: 'secret' } }],
}

test('the current context says where to go, in which namespace, and how to log in', async () => {
  const { access } = connectKube(JSON.stringify(kubeconfig))
  expect(access.server.href).toBe('https://127.0.0.1:6443/')
  expect(access.namespace).toBe('shop')
  expect(await access.credentials()).toEqual({ headers: { authorization: 'Bearer secret' } })
})

test('certificates, server name and basic log-in', async () => {
  const base64 = (text: string) => Buffer.from(text).toString('base64')
  const { access } = connectKube(
    JSON.stringify({
      ...kubeconfig,
      clusters: [
        {
          name: 'c',
          cluster: {
            server: 'https://h',
            'certificate-authority-data': base64('ca'),
            'tls-server-name': 'kubernetes',
          },
        },
      ],
      users: [
        {
          name: 'u',
          user: {
            'client-certificate-data': base64('cert'),
            'client-key-data': base64('key'),
            username: 'me',
            password: 'pw',
          },
        },
      ],
    }),
  )
  expect(await access.credentials()).toEqual({
    ca: Buffer.from('ca'),
    cert: Buffer.from('cert'),
    key: Buffer.from('key'),
    servername: 'kubernetes',
    headers: { authorization: `Basic ${base64('me:pw')}` },
  })
})

test.each([
  ['/home/me/.kube/config', 'Pass the text of a kubeconfig, not the path of its file'],
  ['', 'contexts: none'],
  ['{', 'not valid YAML'],
  [
    JSON.stringify({ ...kubeconfig, 'current-context': 'b' }),
    'current context "b" is not in it; contexts: a',
  ],
  [JSON.stringify({ ...kubeconfig, clusters: [] }), 'context a names the cluster c, which is not in it'],
  [JSON.stringify({ ...kubeconfig, clusters: [{ name: 'c', cluster: {} }] }), 'names no API server'],
])('%j is refused', (text, message) => {
  expect(() => connectKube(text)).toThrow(
    expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringContaining(message) }),
  )
})

test('a server that does not answer is told with its address', async () => {
  const kube = connectKube(
    JSON.stringify({ ...kubeconfig, clusters: [{ name: 'c', cluster: { server: 'https://127.0.0.1:1' } }] }),
  )
  await expect(kube.request('GET', '/version')).rejects.toMatchObject({
    code: 'KUBE_REQUEST_FAILED',
    message: expect.stringMatching(
      /^Could not GET \/version: no answer from https:\/\/127.0.0.1:1: connect ECONNREFUSED/,
    ),
  })
})
