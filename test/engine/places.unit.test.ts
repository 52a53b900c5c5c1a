import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { firstThatAnswers, remoteHostOf } from '../../src/engine/connect.ts'
import { connectEngine } from '../../src/engine/index.ts'
import { enginePlaces } from '../../src/engine/places.ts'

let home: string
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'home-'))
})
afterEach(() => rm(home, { recursive: true }))

const addresses = async (env: NodeJS.ProcessEnv) =>
  (await enginePlaces({ env: { HOME: home, ...env }, platform: 'linux', uid: 1000 })).map(({ address }) =>
    address.replace(home, '~'),
  )

async function write(path: string, content: string) {
  await mkdir(dirname(join(home, path)), { recursive: true })
  await writeFile(join(home, path), content)
}

async function writeContext(name: string, endpoint: object) {
  const id = createHash('sha256').update(name).digest('hex')
  await write(
    `.docker/contexts/meta/${id}/meta.json`,
    JSON.stringify({ Name: name, Endpoints: { docker: endpoint } }),
  )
  return id
}

describe('where an engine is looked for', () => {
  test('Docker before Podman, rootful before rootless', async () => {
    expect(
      await addresses({ XDG_RUNTIME_DIR: '/run/user/1000', CONTAINER_HOST: 'unix:///custom.sock' }),
    ).toEqual([
      'unix:///var/run/docker.sock',
      'unix:///run/user/1000/docker.sock',
      'unix://~/.docker/run/docker.sock',
      'unix://~/.docker/desktop/docker.sock',
      'unix:///custom.sock',
      'unix:///run/user/1000/podman/podman.sock',
      'unix:///run/podman/podman.sock',
    ])
  })

  test('DOCKER_HOST stands alone, with or without its scheme', async () => {
    expect(await addresses({ DOCKER_HOST: 'tcp://10.0.0.1:2375' })).toEqual(['tcp://10.0.0.1:2375'])
    expect(await addresses({ DOCKER_HOST: '10.0.0.1:2375' })).toEqual(['tcp://10.0.0.1:2375'])
  })

  test('DOCKER_HOST wins over a context, as in the Docker client', async () => {
    await writeContext('colima', { Host: 'unix:///colima.sock' })
    expect(await addresses({ DOCKER_HOST: 'unix:///x.sock', DOCKER_CONTEXT: 'colima' })).toEqual([
      'unix:///x.sock',
    ])
  })

  test('DOCKER_TLS_VERIFY reads the certificates of DOCKER_CERT_PATH', async () => {
    for (const name of ['ca', 'cert', 'key']) await write(`certs/${name}.pem`, `the ${name}`)
    const env = { DOCKER_HOST: 'tcp://h:2376', DOCKER_TLS_VERIFY: '1', DOCKER_CERT_PATH: join(home, 'certs') }
    expect(await enginePlaces({ env })).toMatchObject([
      { tls: { ca: 'the ca', cert: 'the cert', key: 'the key' } },
    ])
  })

  test('the current docker context stands alone, with its certificates', async () => {
    const id = await writeContext('colima', { Host: 'tcp://192.168.5.1:2376', SkipTLSVerify: true })
    await write(`.docker/contexts/tls/${id}/docker/ca.pem`, 'the ca')
    await write('.docker/config.json', JSON.stringify({ currentContext: 'colima' }))
    expect(await enginePlaces({ env: { HOME: home } })).toEqual([
      {
        source: 'docker context "colima"',
        address: 'tcp://192.168.5.1:2376',
        chosen: true,
        tls: { ca: 'the ca', skipVerify: true },
      },
    ])
  })

  test('DOCKER_CONTEXT wins over the current one; "default" means the default places', async () => {
    await writeContext('colima', { Host: 'unix:///colima.sock' })
    await write('.docker/config.json', JSON.stringify({ currentContext: 'gone' }))
    expect(await addresses({ DOCKER_CONTEXT: 'colima' })).toEqual(['unix:///colima.sock'])
    expect(await addresses({ DOCKER_CONTEXT: 'default' })).toContain('unix:///var/run/docker.sock')
  })

  test('a context that does not exist is an error at once', async () => {
    await write('.docker/config.json', JSON.stringify({ currentContext: 'gone' }))
    await expect(addresses({})).rejects.toThrow(
      /docker context "gone", named by .*config\.json, does not exist/,
    )
  })
})

describe('when no engine answers', () => {
  const messageOf = async (env: NodeJS.ProcessEnv) => {
    const error = await connectEngine({ env: { HOME: home, ...env } }).catch((thrown) => thrown)
    expect(error).toMatchObject({ name: 'MayflyError', code: 'ENGINE_NOT_FOUND' })
    return (error as Error).message.replaceAll(home, '~')
  }

  test('a DOCKER_HOST that fails is named, and nothing else is tried', async () => {
    expect(await messageOf({ DOCKER_HOST: `unix://${home}/none.sock` })).toMatchInlineSnapshot(`
      "No container engine answers at unix://~/none.sock, which DOCKER_HOST names: no such file
      → start it, or correct or unset that setting to have other places tried"
    `)
  })

  test('an address of no known kind says which there are', async () => {
    expect(await messageOf({ DOCKER_HOST: 'fd://3' })).toMatchInlineSnapshot(`
      "No container engine answers at fd://3, which DOCKER_HOST names: "fd://" is no address of an engine; unix, npipe, tcp, http, https and ssh are
      → start it, or correct or unset that setting to have other places tried"
    `)
  })

  test('something that answers and is no engine says so', async () => {
    const server = createServer((socket) => socket.end('HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n'))
    await new Promise<void>((resolve) => server.listen(join(home, 'web.sock'), resolve))
    try {
      expect(await messageOf({ DOCKER_HOST: `unix://${home}/web.sock` })).toMatchInlineSnapshot(`
        "No container engine answers at unix://~/web.sock, which DOCKER_HOST names: what answers there is no container engine (HTTP 404)
        → start it, or correct or unset that setting to have other places tried"
      `)
    } finally {
      server.close()
    }
  })

  test.skipIf(process.platform !== 'linux')('every place is listed with its reason', async () => {
    // Only the places in this test's own home: engines of this machine would answer at the others.
    await write('.docker/run/docker.sock', 'a file, no socket')
    const places = (
      await enginePlaces({ env: { HOME: home, XDG_RUNTIME_DIR: `${home}/run` }, uid: 1000 })
    ).filter(({ address }) => address.includes(home))
    const error = await firstThatAnswers(places).catch((thrown: Error) => thrown)
    expect((error as Error).message.replaceAll(home, '~')).toMatchInlineSnapshot(`
      "No container engine answers; these places were tried:
      → start Docker or Podman, or say where it is with DOCKER_HOST
          unix://~/run/docker.sock (rootless socket): no such file
          unix://~/.docker/run/docker.sock (Docker Desktop): connection refused
          unix://~/.docker/desktop/docker.sock (Docker Desktop): no such file
          unix://~/run/podman/podman.sock (rootless Podman): no such file"
    `)
  })
})

test.for([
  ['unix:///var/run/docker.sock', undefined],
  ['tcp://127.0.0.1:2375', undefined],
  ['tcp://localhost:2375', undefined],
  ['tcp://[::1]:2375', undefined],
  ['tcp://docker:2376', 'docker'],
  ['https://[fd00::1]:2376', 'fd00::1'],
  ['ssh://me@build.example', 'build.example'],
] as const)('the engine at %s publishes ports on %s', ([address, host]) => {
  expect(remoteHostOf(address)).toBe(host)
})
