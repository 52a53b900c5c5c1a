import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { findMayflyNode, packedFile, packProgram } from '../../src/node-image/mayfly-node.ts'

async function folder(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'mayfly-pack-'))
  onTestFinished(() => rm(dir, { recursive: true }))
  return dir
}

test('the program that a package was packed with is found in it, for its architecture', async () => {
  const dir = await folder()
  const program = Buffer.from('ELF'.repeat(1000))
  await writeFile(packedFile(dir, 'arm64'), await packProgram(program))
  const found = await findMayflyNode('arm64', dir)
  expect(await found.read()).toEqual(program)
})

test('its key tells one program from another', async () => {
  const dir = await folder()
  const keyOf = async (text: string) => {
    await writeFile(packedFile(dir, 'amd64'), await packProgram(Buffer.from(text)))
    return (await findMayflyNode('amd64', dir)).key
  }
  const [one, same, other] = [await keyOf('one'), await keyOf('one'), await keyOf('other')]
  expect(same).toBe(one)
  expect(other).not.toBe(one)
})
