import { execFile } from 'node:child_process'
import { createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect, createServer } from 'node:tls'
import { promisify } from 'node:util'
import { describe, expect, onTestFinished, test } from 'vitest'
import { parse } from 'yaml'
import {
  adminKubeconfig,
  type ControlPlaneCluster,
  type ControlPlaneNode,
  controlPlaneFiles,
  createAuthorities,
  issueClientCertificate,
  kubeconfig,
  type PkiFile,
  workerFiles,
} from '../../src/pki/index.ts'

const node: ControlPlaneNode = { name: 'demo-control-plane', ips: ['172.18.0.2', 'fc00:f853::2'] }
const cluster: ControlPlaneCluster = {
  name: 'demo',
  apiServerEndpoint: 'https://demo-load-balancer:6443',
  serviceIps: ['10.96.0.1', 'fd00:10:96::1'],
  extraSans: ['192.0.2.7', 'api.example.com', '*.example.org', 'localhost'],
}
const authorities = await createAuthorities()
const files = await controlPlaneFiles(authorities, node, cluster)
const worker = await workerFiles(authorities, { name: 'demo-worker' }, cluster)

const signedBy = {
  'apiserver.crt': 'ca.crt',
  'apiserver-kubelet-client.crt': 'ca.crt',
  'apiserver-etcd-client.crt': 'etcd/ca.crt',
  'etcd/server.crt': 'etcd/ca.crt',
  'etcd/peer.crt': 'etcd/ca.crt',
  'etcd/healthcheck-client.crt': 'etcd/ca.crt',
  'front-proxy-client.crt': 'front-proxy-ca.crt',
}
const configs = ['admin', 'super-admin', 'controller-manager', 'scheduler', 'kubelet'] as const

const kubeletFiles = {
  '/var/lib/kubelet/pki/kubelet-client-issued.pem': '600',
  '/var/lib/kubelet/pki/kubelet-client-current.pem': 'link',
}

describe('a control-plane node', () => {
  test('gets the files of kubeadm, secrets readable by root alone', () => {
    const publicFiles = ['ca.crt', 'etcd/ca.crt', 'front-proxy-ca.crt', ...Object.keys(signedBy)]
    const secretFiles = [...publicFiles.map((path) => path.replace('.crt', '.key')), 'sa.key', 'sa.pub']
    expect(modesOf(files)).toEqual({
      ...Object.fromEntries(publicFiles.map((path) => [`/etc/kubernetes/pki/${path}`, '644'])),
      ...Object.fromEntries(secretFiles.map((path) => [`/etc/kubernetes/pki/${path}`, '600'])),
      ...Object.fromEntries(configs.map((name) => [`/etc/kubernetes/${name}.conf`, '600'])),
      ...kubeletFiles,
    })
    expect(files).toHaveLength(publicFiles.length + secretFiles.length + configs.length + 2)
  })

  test.each(Object.entries(signedBy))('%s is signed by %s and fits its key', (path, authorityPath) => {
    const certificate = new X509Certificate(pki(path))
    const authority = new X509Certificate(pki(authorityPath))
    expect(certificate.checkIssued(authority)).toBe(true)
    expect(certificate.verify(authority.publicKey)).toBe(true)
    expect(certificate.checkPrivateKey(createPrivateKey(pki(path.replace('.crt', '.key'))))).toBe(true)
    expect(certificate.ca).toBe(false)
  })

  test.each([
    ['ca.crt', 'CN=kubernetes'],
    ['etcd/ca.crt', 'CN=etcd-ca'],
    ['front-proxy-ca.crt', 'CN=front-proxy-ca'],
    ['apiserver.crt', 'CN=kube-apiserver'],
    ['apiserver-kubelet-client.crt', 'O=kubeadm:cluster-admins\nCN=kube-apiserver-kubelet-client'],
    ['apiserver-etcd-client.crt', 'CN=kube-apiserver-etcd-client'],
    ['etcd/server.crt', 'CN=demo-control-plane'],
    ['etcd/peer.crt', 'CN=demo-control-plane'],
    ['etcd/healthcheck-client.crt', 'CN=kube-etcd-healthcheck-client'],
    ['front-proxy-client.crt', 'CN=front-proxy-client'],
  ])('%s is made out to %s', (path, subject) => {
    expect(new X509Certificate(pki(path)).subject).toBe(subject)
  })

  test('has an API server that proves every name and address it is reached at', () => {
    const certificate = new X509Certificate(pki('apiserver.crt'))
    expect(certificate.subjectAltName?.split(', ')).toEqual([
      'DNS:demo-control-plane',
      'DNS:kubernetes',
      'DNS:kubernetes.default',
      'DNS:kubernetes.default.svc',
      'DNS:kubernetes.default.svc.cluster.local',
      'DNS:demo-load-balancer',
      'DNS:localhost',
      'DNS:api.example.com',
      'DNS:*.example.org',
      'IP Address:10.96.0.1',
      'IP Address:FD00:10:96:0:0:0:0:1',
      'IP Address:172.18.0.2',
      'IP Address:FC00:F853:0:0:0:0:0:2',
      'IP Address:127.0.0.1',
      'IP Address:0:0:0:0:0:0:0:1',
      'IP Address:192.0.2.7',
    ])
    expect(certificate.checkHost('kubernetes.default.svc.cluster.local')).toBeDefined()
    expect(certificate.checkHost('any.example.org')).toBeDefined()
    expect(certificate.checkHost('example.net')).toBeUndefined()
    expect(certificate.checkIP('::1')).toBeDefined()
    expect(certificate.checkIP('192.0.2.8')).toBeUndefined()
  })

  test.each(['etcd/server.crt', 'etcd/peer.crt'])('%s names the node and loopback', (path) => {
    expect(new X509Certificate(pki(path)).subjectAltName).toBe(
      [
        'DNS:demo-control-plane',
        'DNS:localhost',
        'IP Address:172.18.0.2',
        'IP Address:FC00:F853:0:0:0:0:0:2',
        'IP Address:127.0.0.1',
        'IP Address:0:0:0:0:0:0:0:1',
      ].join(', '),
    )
  })

  test.each([
    [
      'admin',
      'kubernetes-admin',
      'O=kubeadm:cluster-admins\nCN=kubernetes-admin',
      'https://demo-load-balancer:6443',
    ],
    [
      'super-admin',
      'kubernetes-super-admin',
      'O=system:masters\nCN=kubernetes-super-admin',
      'https://demo-load-balancer:6443',
    ],
    [
      'controller-manager',
      'system:kube-controller-manager',
      'CN=system:kube-controller-manager',
      'https://172.18.0.2:6443',
    ],
    ['scheduler', 'system:kube-scheduler', 'CN=system:kube-scheduler', 'https://172.18.0.2:6443'],
    [
      'kubelet',
      'system:node:demo-control-plane',
      'O=system:nodes\nCN=system:node:demo-control-plane',
      'https://demo-load-balancer:6443',
    ],
  ])('%s.conf logs in as %s', (name, user, subject, server) => {
    const client = read(contentOf(files, `/etc/kubernetes/${name}.conf`), files)
    expect(client).toMatchObject({ cluster: 'demo', user, context: `${user}@demo`, server })
    expect(client.certificate.subject).toBe(subject)
    expect(client.certificate.keyUsage).toEqual(['1.3.6.1.5.5.7.3.2'])
    expect(client.certificate.verify(authorities.ca.keys.publicKey)).toBe(true)
    expect(client.certificate.checkPrivateKey(client.key)).toBe(true)
    expect(client.caPem).toBe(authorities.ca.certificate)
  })

  test('may say where its own API server is, and in which DNS domain Services are', async () => {
    const own = await controlPlaneFiles(
      authorities,
      { name: 'six', ips: ['fd00::5'] },
      { ...cluster, dnsDomain: 'example.internal' },
    )
    expect(read(contentOf(own, '/etc/kubernetes/scheduler.conf')).server).toBe('https://[fd00::5]:6443')
    const apiServer = new X509Certificate(contentOf(own, '/etc/kubernetes/pki/apiserver.crt'))
    expect(apiServer.checkHost('kubernetes.default.svc.example.internal')).toBeDefined()
    expect(apiServer.checkHost('kubernetes.default.svc.cluster.local')).toBeUndefined()

    const told = await controlPlaneFiles(
      authorities,
      { ...node, localApiServer: 'https://127.0.0.1:7443' },
      cluster,
    )
    expect(read(contentOf(told, '/etc/kubernetes/scheduler.conf')).server).toBe('https://127.0.0.1:7443')
  })

  test.each(['not a name', 'fe80::1%eth0', 'API.example.com', ''])('cannot be called %j', async (san) => {
    await expect(
      controlPlaneFiles(authorities, node, { ...cluster, extraSans: [san] }),
    ).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining(JSON.stringify(san)),
    })
  })
})

test('a worker gets the certificate of the authority and a kubelet.conf of its own, and no key of the cluster', () => {
  expect(modesOf(worker)).toEqual({
    '/etc/kubernetes/pki/ca.crt': '644',
    '/etc/kubernetes/kubelet.conf': '600',
    ...kubeletFiles,
  })
  expect(contentOf(worker, '/etc/kubernetes/pki/ca.crt')).toBe(authorities.ca.certificate)
  const kubelet = read(contentOf(worker, '/etc/kubernetes/kubelet.conf'), worker)
  expect(kubelet.certificate.subject).toBe('O=system:nodes\nCN=system:node:demo-worker')
  expect(kubelet.server).toBe('https://demo-load-balancer:6443')
})

describe('OpenSSL, in its strict mode,', () => {
  test.each([
    ['apiserver.crt', ['sslserver']],
    ['apiserver-kubelet-client.crt', ['sslclient']],
    ['apiserver-etcd-client.crt', ['sslclient']],
    ['etcd/server.crt', ['sslserver', 'sslclient']],
    ['etcd/peer.crt', ['sslserver', 'sslclient']],
    ['etcd/healthcheck-client.crt', ['sslclient']],
    ['front-proxy-client.crt', ['sslclient']],
  ] as const)('accepts %s for %s only', async (path, purposes) => {
    const accepted = await Promise.all(
      ['sslserver', 'sslclient'].map(async (purpose) =>
        (await opensslAccepts(pki(signedBy[path]), pki(path), purpose)) ? [purpose] : [],
      ),
    )
    expect(accepted.flat().toSorted()).toEqual(purposes.toSorted())
  })

  test('takes no certificate on the word of another authority', async () => {
    expect(await opensslAccepts(pki('etcd/ca.crt'), pki('apiserver.crt'), 'sslserver')).toBe(false)
    const stranger = await createAuthorities()
    expect(await opensslAccepts(stranger.ca.certificate, pki('apiserver.crt'), 'sslserver')).toBe(false)
  })
})

test('a TLS server and its client know each other by these files', async () => {
  const server = createServer({
    ca: pki('ca.crt'),
    cert: pki('apiserver.crt'),
    key: pki('apiserver.key'),
    requestCert: true,
    rejectUnauthorized: true,
  })
  onTestFinished(() => void server.close())
  server.on('secureConnection', (socket) => socket.end(`${socket.getPeerX509Certificate()?.subject}`))
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  const { port } = server.address() as { port: number }

  const { certificate, privateKey } = await issueClientCertificate(authorities.ca, {
    commonName: 'jane',
    organizations: ['developers', 'testers'],
  })
  const socket = connect({ port, host: '127.0.0.1', ca: pki('ca.crt'), cert: certificate, key: privateKey })
  expect(await socket.toArray().then((chunks) => Buffer.concat(chunks).toString())).toBe(
    'O=developers\nO=testers\nCN=jane',
  )
})

describe('certificates', () => {
  const hour = 60 * 60 * 1000
  const day = 24 * hour

  test('are valid since an hour ago: authorities for ten years, others for one', () => {
    expect(validity(pki('ca.crt'))).toEqual({ since: 1, days: 3650 })
    expect(validity(pki('apiserver.crt'))).toEqual({ since: 1, days: 365 })
  })

  test.each([10 * 60 * 1000, 40 * 365 * day])('are valid for %d ms when asked', async (ttlMs) => {
    const issued = await issueClientCertificate(authorities.ca, { commonName: 'brief', ttlMs })
    const { validToDate } = new X509Certificate(issued.certificate)
    expect(Math.abs(validToDate.getTime() - Date.now() - ttlMs)).toBeLessThan(10_000)
  })

  test('each have a positive serial number and a key of their own', () => {
    const all = files
      .filter(({ path }) => path.endsWith('.crt'))
      .map(({ path }) => new X509Certificate(contentOf(files, path)))
    for (const { serialNumber } of all) expect(serialNumber).toMatch(/^[4-7][0-9A-F]{31}$/)
    expect(new Set(all.map(({ serialNumber }) => serialNumber)).size).toBe(all.length)
    expect(new Set(all.map(({ publicKey }) => spki(publicKey))).size).toBe(all.length)
  })

  function validity(pem: string) {
    const { validFromDate, validToDate } = new X509Certificate(pem)
    return {
      since: Math.round((Date.now() - validFromDate.getTime()) / hour),
      days: Math.round((validToDate.getTime() - Date.now()) / day),
    }
  }
})

test('service account tokens are signed and checked with one pair, in the forms that kubeadm writes', () => {
  expect(pki('sa.key')).toMatch(/^-----BEGIN EC PRIVATE KEY-----\n/)
  expect(pki('sa.pub')).toMatch(/^-----BEGIN PUBLIC KEY-----\n/)
  expect(spki(createPublicKey(pki('sa.key')))).toBe(spki(createPublicKey(pki('sa.pub'))))
})

test('two clusters have no key in common', async () => {
  const other = await controlPlaneFiles(await createAuthorities(), node, cluster)
  const keysOf = (some: PkiFile[]) => [
    ...some.filter(({ path }) => /\.(key|pub)$/.test(path)).map(({ path }) => contentOf(some, path)),
    ...some
      .filter(({ path }) => path.endsWith('.conf'))
      .map(({ path }) => read(contentOf(some, path), some).key.export({ type: 'sec1', format: 'pem' })),
  ]
  const keys = [...keysOf(files), ...keysOf(other)]
  expect(keys).toHaveLength(2 * (12 + 5))
  expect(new Set(keys).size).toBe(keys.length)
})

test('the host logs in past RBAC, under names that do not clash with those of another cluster', async () => {
  const text = await adminKubeconfig(authorities, { name: 'demo', server: 'https://127.0.0.1:40123' })
  const admin = read(text)
  expect(admin).toMatchObject({
    cluster: 'mayfly-demo',
    user: 'mayfly-demo',
    context: 'mayfly-demo',
    server: 'https://127.0.0.1:40123',
  })
  expect(admin.certificate.subject).toBe('O=system:masters\nCN=mayfly-admin')
  expect(await opensslAccepts(authorities.ca.certificate, admin.certificate.toString(), 'sslclient')).toBe(
    true,
  )
})

test('a kubeconfig is plain YAML, whatever things are called', () => {
  const parts = {
    server: 'https://[::1]:6443',
    caPem: 'CA\n',
    client: { certificate: 'CERT\n', privateKey: 'KEY\n' },
  }
  expect(parse(kubeconfig({ ...parts, name: '123', user: 'yes: no', context: 'null' }))).toEqual({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [
      { name: '123', cluster: { 'certificate-authority-data': 'Q0EK', server: 'https://[::1]:6443' } },
    ],
    contexts: [{ name: 'null', context: { cluster: '123', user: 'yes: no' } }],
    'current-context': 'null',
    users: [
      { name: 'yes: no', user: { 'client-certificate-data': 'Q0VSVAo=', 'client-key-data': 'S0VZCg==' } },
    ],
  })
  expect(parse(kubeconfig({ ...parts, name: 'demo' }))['current-context']).toBe('demo@demo')
  expect(parse(kubeconfig({ ...parts, name: 'demo', client: { file: '/pem' } })).users).toEqual([
    { name: 'demo', user: { 'client-certificate': '/pem', 'client-key': '/pem' } },
  ])
})

function contentOf(some: PkiFile[], path: string): string {
  const file = some.find((candidate) => candidate.path === path)
  if (!file) throw new Error(`there is no ${path}`)
  return 'linkTo' in file ? contentOf(some, file.linkTo) : file.content
}

function modesOf(some: PkiFile[]): Record<string, string> {
  return Object.fromEntries(
    some.map((file) => [file.path, 'linkTo' in file ? 'link' : file.mode.toString(8)]),
  )
}

function pki(path: string): string {
  return contentOf(files, `/etc/kubernetes/pki/${path}`)
}

/** What a kubeconfig says, which may refer to some of these files. */
function read(text: string, some: PkiFile[] = []) {
  const { 'current-context': context, clusters, contexts, users } = parse(text)
  expect([clusters.length, contexts.length, users.length]).toEqual([1, 1, 1])
  expect(contexts[0]).toEqual({ name: context, context: { cluster: clusters[0].name, user: users[0].name } })
  const decoded = (base64: string) => Buffer.from(base64, 'base64').toString()
  const credentials = users[0].user
  const pemOf = (what: string) =>
    what in credentials ? contentOf(some, credentials[what]) : decoded(credentials[`${what}-data`])
  return {
    context,
    cluster: clusters[0].name,
    user: users[0].name,
    server: clusters[0].cluster.server,
    caPem: decoded(clusters[0].cluster['certificate-authority-data']),
    certificate: new X509Certificate(pemOf('client-certificate')),
    key: createPrivateKey(pemOf('client-key')),
  }
}

function spki(key: ReturnType<typeof createPublicKey>): string {
  return key.export({ type: 'spki', format: 'pem' }) as string
}

/** Whether `openssl verify` trusts a certificate for a purpose when it trusts one authority alone. */
async function opensslAccepts(authority: string, certificate: string, purpose: string): Promise<boolean> {
  const folder = await mkdtemp(join(tmpdir(), 'mayfly-pki-'))
  try {
    await writeFile(join(folder, 'ca.crt'), authority)
    await writeFile(join(folder, 'leaf.crt'), certificate)
    const options = ['-x509_strict', '-purpose', purpose, '-no-CApath', '-no-CAstore', '-CAfile', 'ca.crt']
    await promisify(execFile)('openssl', ['verify', ...options, 'leaf.crt'], { cwd: folder })
    return true
  } catch (failure) {
    // Anything but a verdict, such as a missing openssl, must not pass for one.
    if (/leaf\.crt: verification failed/.test(String((failure as { stderr?: string }).stderr))) return false
    throw failure
  } finally {
    await rm(folder, { recursive: true })
  }
}
