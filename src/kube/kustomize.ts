import { readFile } from 'node:fs/promises'
import { execa } from 'execa'
import { parse } from 'yaml'
import { MayflyError, messageOf } from '../errors.ts'

/** Whether a file of that name makes its folder a kustomization. */
export function isKustomization(fileName: string): boolean {
  return ['kustomization.yaml', 'kustomization.yml', 'Kustomization'].includes(fileName)
}

/**
 * Builds a kustomization folder into YAML text with `kubectl kustomize`, or with `kustomize build` where there is no kubectl.
 *
 * @returns Nothing where this host has neither
 * @throws MayflyError `MANIFEST_INVALID` with what the program printed
 */
export async function kustomizeOnHost(folder: string, signal?: AbortSignal): Promise<string | undefined> {
  for (const [command, ...args] of [
    ['kubectl', 'kustomize'],
    ['kustomize', 'build'],
  ] as const) {
    const result = await execa(command, [...args, folder], {
      reject: false,
      ...(signal && { cancelSignal: signal }),
    })
    signal?.throwIfAborted()
    if (result.code === 'ENOENT') continue
    if (!result.failed) return result.stdout
    throw new MayflyError('MANIFEST_INVALID', `${command} could not build the kustomization ${folder}`, {
      output: result.stderr || messageOf(result),
    })
  }
  return undefined
}

/** What a kustomization builds on, by its file: paths from its folder. Nothing of one that cannot be read, as is told when it is built. */
export async function kustomizationBases(file: string): Promise<string[]> {
  try {
    const { resources = [], components = [], bases = [] } = parse(await readFile(file, 'utf8')) ?? {}
    return [...resources, ...components, ...bases].filter((entry) => !String(entry).includes('://'))
  } catch {
    return []
  }
}
