/**
 * Pins a Kubernetes version: writes its module file from the one of Kubernetes' own source, so that every
 * dependency has the version that Kubernetes was released with.
 *
 *     node node-image/kubernetes/pin.ts v1.36.3
 *
 * The default version's is go.mod; all others are called after their version.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const [version = '', file = `${version}.mod`] = process.argv.slice(2)
if (!/^v1\.\d+\.\d+$/.test(version)) {
  console.error('usage: node pin.ts v1.MINOR.PATCH [go.mod]')
  process.exit(2)
}
const shared = 'mayfly.io/node-image/rest'
const staging = version.replace('v1.', 'v0.')
const cwd = import.meta.dirname
const go = (...args: string[]) =>
  execFileSync('go', args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })

const { Dir } = JSON.parse(go('mod', 'download', '-json', `k8s.io/kubernetes@${version}`)) as { Dir: string }
const upstream = readFileSync(join(Dir, 'go.mod'), 'utf8')
const required = [...upstream.matchAll(/^\t(\S+ v\S+)(?: \/\/ indirect)?$/gm)].map(([, line]) => line ?? '')
const staged = [...upstream.matchAll(/^\t(k8s\.io\/\S+) => \.\/staging/gm)].map(([, module]) => module ?? '')

writeFileSync(
  join(cwd, file),
  [
    'module mayfly.io/node-image/kubernetes',
    ...(upstream.match(/^(go|godebug) .+$/gm) ?? []),
    `require (\n${[`k8s.io/kubernetes ${version}`, `${shared} v0.0.0`, ...required].map((line) => `\t${line}`).join('\n')}\n)`,
    `replace (\n${staged.map((module) => `\t${module} => ${module} ${staging}`).join('\n')}\n)`,
    `replace ${shared} => ../rest`,
    '',
  ].join('\n\n'),
)
go('mod', 'tidy', `-modfile=${file}`)
