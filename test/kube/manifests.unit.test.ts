import { fileURLToPath, pathToFileURL } from 'node:url'
import { describe, expect, test } from 'vitest'
import {
  type LoadManifestsOptions,
  loadManifests,
  type ManifestSource,
  manifestPaths,
  parseManifests,
} from '../../src/kube/index.ts'

const cwd = fileURLToPath(new URL('../../fixtures/manifests', import.meta.url))

async function names(
  source: ManifestSource | ManifestSource[],
  options: LoadManifestsOptions = {},
): Promise<string[]> {
  return (await loadManifests(source, { cwd, ...options })).map(
    ({ kind, metadata }) => `${kind} ${metadata.name}`,
  )
}

const settings = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'settings' } }

describe('sources', () => {
  test('a folder: its YAML and JSON files by name, documents and Lists taken apart, empty documents left out', async () => {
    expect(await names('shop')).toEqual([
      'Namespace shop',
      'Deployment web',
      'Service web',
      'ServiceAccount web',
      'ConfigMap web',
      'ConfigMap extra',
    ])
  })

  test('a file, a file: URL as object or text, a glob', async () => {
    expect(await names('shop/30-config.json')).toEqual(['ConfigMap extra'])
    expect(await names(pathToFileURL(`${cwd}/shop/30-config.json`))).toEqual(['ConfigMap extra'])
    expect(await names(pathToFileURL(`${cwd}/shop/30-config.json`).href)).toEqual(['ConfigMap extra'])
    expect(await names('shop/{10,30}-*')).toEqual(['Namespace shop', 'ConfigMap extra'])
    expect(await names('broken/nested/**/*.yaml')).toEqual(['ConfigMap inner'])
  })

  test('objects, YAML text and functions that return any of these', async () => {
    expect(await names(settings)).toEqual(['ConfigMap settings'])
    expect(await names('apiVersion: v1\nkind: ConfigMap\nmetadata: {name: inline}')).toEqual([
      'ConfigMap inline',
    ])
    expect(
      await names([async () => [settings, 'shop/30-config.json'], () => 'shop/10-namespace.yaml']),
    ).toEqual(['ConfigMap settings', 'ConfigMap extra', 'Namespace shop'])
  })

  test('a List of one kind, whose items have no kind of their own', async () => {
    const list = {
      apiVersion: 'v1',
      kind: 'ConfigMapList',
      items: [{ metadata: { name: 'a' } }, { metadata: { name: 'b' } }],
    }
    expect(await loadManifests(list)).toEqual([
      { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a' } },
      { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'b' } },
    ])
  })

  test('a kustomization folder is built by whoever is asked to', async () => {
    const kustomize = async (folder: string) => `${JSON.stringify({ ...settings, data: { folder } })}\n`
    expect(await loadManifests('kustomize/overlay', { cwd, kustomize })).toEqual([
      { ...settings, data: { folder: `${cwd}/kustomize/overlay` } },
    ])
  })

  test('what is given twice and alike counts once', async () => {
    expect(await names(['shop/30-config.json', 'shop/*.json'])).toEqual(['ConfigMap extra'])
  })
})

describe('scalars are read as kubectl reads them', () => {
  test.each([
    ['0644', 0o644],
    ['yes', true],
    ['off', false],
    ['22:22', '22:22'],
    ['2026-01-02', '2026-01-02'],
    ['"yes"', 'yes'],
    ['0x10', 16],
    ['1e3', 1000],
    ['~', null],
  ])('%s', (text, value) => {
    const [object] = parseManifests(`apiVersion: v1\nkind: Any\nmetadata: {name: a}\nspec: ${text}`, 'text')
    expect(object?.spec).toBe(value)
  })

  test('anchors and merge keys', () => {
    const [object] = parseManifests(
      'apiVersion: v1\nkind: Any\nmetadata: {name: a}\nx: &x {b: 1}\nspec: {<<: *x, c: 2}',
      'text',
    )
    expect(object?.spec).toEqual({ b: 1, c: 2 })
  })
})

test('what is to be watched: files, folders, and all that a kustomization reaches into', async () => {
  const sources = [
    'shop',
    'shop/30-config.json',
    'widgets/*.yaml',
    'kustomize/overlay',
    'kind: A\n',
    settings,
  ]
  expect(await manifestPaths(sources, cwd)).toEqual([
    `${cwd}/shop/**`,
    `${cwd}/shop/30-config.json`,
    `${cwd}/widgets/*.yaml`,
    `${cwd}/kustomize/overlay/**`,
    `${cwd}/kustomize/base/**`,
    `${cwd}/kustomize/base/configmap.yaml`,
  ])
})

describe('a mistake is told with its place, and what to do', () => {
  test.each([
    ['broken/no-kind.yaml', 'broken/no-kind.yaml:6: nameless has no kind'],
    ['broken/no-name.yaml', 'broken/no-name.yaml:1: ConfigMap has no metadata.name'],
    ['broken/values.yaml', 'broken/values.yaml:1: the object has no apiVersion'],
    ['broken/not-yaml.yaml', 'broken/not-yaml.yaml:5 is not valid YAML'],
    ['broken/template.yaml', 'This is a template: give what it renders to'],
    ['broken/empty', 'The folder broken/empty has no .yaml, .yml or .json file'],
    ['broken/nested', 'Its subfolders are not looked into; name them with broken/nested/**/*.yaml'],
    ['shop/20-wbe.yaml', 'Did you mean 20-web.yaml?'],
    ['shop/zzzzzzzzzzz', 'The folder shop has 10-namespace.yaml, 20-web.yaml, 30-config.json, NOTES.txt'],
    ['shap/x.yaml', 'The folder shap does not exist either'],
    ['shop/*.yml', 'No file matches shop/*.yml'],
    ['kustomize/base/kustomization.yaml', 'Name its folder, kustomize/base, to have it built'],
    ['https://example.com/a.yaml', 'Download the file into the project'],
  ])('%s', async (source, message) => {
    await expect(names(source)).rejects.toMatchObject({
      code: 'MANIFEST_INVALID',
      message: expect.stringContaining(message),
    })
  })

  test.each([
    [null, 'Manifest 1 is null'],
    [42, 'Manifest 1 is 42'],
    [{ kind: 'ConfigMap' }, 'object 1 of the list: ConfigMap has no apiVersion'],
    [{ ...settings, kind: 7 }, 'object 1 of the list: settings has 7 as kind'],
    [
      { apiVersion: 'v1', kind: 'List', items: [settings, {}] },
      'object 1 of the list, item 2: the object has no apiVersion',
    ],
  ])('%j', async (source, message) => {
    await expect(loadManifests([source as ManifestSource])).rejects.toMatchObject({
      code: 'MANIFEST_INVALID',
      message: expect.stringContaining(message),
    })
  })

  test('the same object twice, and not alike', async () => {
    await expect(
      names([
        'shop',
        { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop', labels: { a: 'b' } } },
      ]),
    ).rejects.toThrow(
      'Namespace shop is given twice, and not alike: shop/10-namespace.yaml:1 and object 2 of the list',
    )
  })
})
