import { mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { parse, stringify } from 'yaml'
import { addToKubeconfigFile, removeFromKubeconfigFile } from '../../src/cluster/kubeconfig-file.ts'

let dir: string
let file: string
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'mayfly-test-'))
  file = join(dir, 'nested', 'config')
})
afterEach(() => rm(dir, { recursive: true }))

/** A kubeconfig with one context of that name. */
const configOf = (name: string, server = `https://${name}`) =>
  stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name, cluster: { server } }],
    contexts: [{ name, context: { cluster: name, user: name } }],
    users: [{ name, user: { token: name } }],
    'current-context': name,
  })

const content = async () => parse(await readFile(file, 'utf8'))

describe('a kubeconfig file', () => {
  test('is made where there is none, for its user only', async () => {
    await addToKubeconfigFile(file, configOf('one'))
    expect(await content()).toEqual(parse(configOf('one')))
    expect((await stat(file)).mode & 0o777).toBe(0o600)
  })

  test('keeps what is in it, gets the new context and makes it the current one', async () => {
    await addToKubeconfigFile(file, `${configOf('one')}preferences: { colors: true }\n`)
    await addToKubeconfigFile(file, configOf('two'))
    const merged = await content()
    expect(merged.contexts.map(({ name }: { name: string }) => name)).toEqual(['one', 'two'])
    expect(merged.users.map(({ name }: { name: string }) => name)).toEqual(['one', 'two'])
    expect(merged['current-context']).toBe('two')
    expect(merged.preferences).toEqual({ colors: true })
  })

  test('has a cluster once that was made again', async () => {
    await addToKubeconfigFile(file, configOf('one', 'https://old'))
    await addToKubeconfigFile(file, configOf('one', 'https://new'))
    expect((await content()).clusters).toEqual([{ name: 'one', cluster: { server: 'https://new' } }])
  })

  test('loses nothing but the cluster that is taken out', async () => {
    await addToKubeconfigFile(file, configOf('one'))
    await addToKubeconfigFile(file, configOf('two'))
    await removeFromKubeconfigFile(file, 'one')
    expect(await content()).toEqual(parse(configOf('two')))
    await removeFromKubeconfigFile(file, 'two')
    expect(await content()).toMatchObject({ clusters: [], contexts: [], users: [], 'current-context': '' })
  })

  test('is changed by many at once without a loss', async () => {
    const names = Array.from({ length: 12 }, (_, at) => `c${at}`)
    await Promise.all(names.map((name) => addToKubeconfigFile(file, configOf(name))))
    const merged = (await content()).contexts.map(({ name }: { name: string }) => name)
    expect(merged.sort()).toEqual(names.sort())
  })

  test('stays a link when it is one', async () => {
    await addToKubeconfigFile(file, configOf('one'))
    const link = join(dir, 'link')
    await symlink(file, link)
    await addToKubeconfigFile(link, configOf('two'))
    expect((await content()).contexts).toHaveLength(2)
  })

  test('is left alone when it is something else', async () => {
    const other = join(dir, 'other')
    await writeFile(other, '- a list\n')
    await expect(addToKubeconfigFile(other, configOf('one'))).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
    })
    expect(await readFile(other, 'utf8')).toBe('- a list\n')
  })
})
