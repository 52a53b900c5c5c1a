import { access, statfs } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { ExecaError, execa, type Options } from 'execa'
import { MayflyError } from '../errors.ts'
import type { Architecture } from './recipe.ts'

/** Runs a build tool; what it printed is attached to the error when it fails. */
export async function run(program: string, args: readonly string[], options: Options = {}): Promise<string> {
  try {
    const { stdout } = await execa(program, args, { stdin: 'ignore', ...options })
    return String(stdout)
  } catch (thrown) {
    if (!(thrown instanceof ExecaError)) throw thrown
    const output = [thrown.stdout, thrown.stderr].filter(Boolean).join('\n')
    throw new MayflyError('NODE_IMAGE_BUILD_FAILED', `${program} failed: ${thrown.shortMessage}`, {
      output: output.split('\n').slice(-40).join('\n'),
      cause: thrown,
      ...explain(output),
    })
  }
}

function explain(output: string): { hint?: string } {
  if (/dial tcp|no such host|i\/o timeout|TLS handshake timeout|Temporary failure resolving/.test(output)) {
    return {
      hint: 'Check the network: a build fetches Go modules from GOPROXY and packages from the Debian mirror',
    }
  }
  if (/no space left on device/i.test(output))
    return { hint: 'Free some disk space and build again; finished steps are kept' }
  return {}
}

const minimumGo = [1, 26] as const
const minimumFreeBytes = 8 * 2 ** 30

/** A program that the build calls, and the Debian package that has it. */
const tools = { mmdebstrap: 'mmdebstrap', tar: 'tar', gcc: 'gcc', 'pkg-config': 'pkg-config' } as const

/** What the build found on this host. */
export interface Toolchain {
  goVersion: string
}

/**
 * Checks everything a build needs before anything is made.
 *
 * @throws MayflyError `NODE_IMAGE_BUILD_FAILED` that names all that is missing
 */
export async function checkToolchain(arch: Architecture, cacheDir: string): Promise<Toolchain> {
  const missing = [...(await missingTools(arch))]
  const goVersion = await execa('go', ['env', 'GOVERSION']).then(
    ({ stdout }) => stdout,
    () => undefined,
  )
  if (goVersion === undefined)
    missing.unshift(`Go ${minimumGo.join('.')} or newer, which is not on the PATH (see go.dev/dl)`)
  else if (!isRecent(goVersion)) missing.unshift(`Go ${minimumGo.join('.')} or newer; ${goVersion} was found`)
  if (missing.length > 0) {
    throw new MayflyError('NODE_IMAGE_BUILD_FAILED', `Building a node image needs ${missing.join('; and ')}`)
  }
  const { bavail, bsize } = await statfs(cacheDir)
  if (bavail * bsize < minimumFreeBytes) {
    const free = (bavail * bsize) / 2 ** 30
    throw new MayflyError(
      'NODE_IMAGE_BUILD_FAILED',
      `Building a node image needs 8 GiB of free disk; ${cacheDir} has ${free.toFixed(1)} GiB`,
      { hint: 'Free some space, or set MAYFLY_CACHE_DIR to a folder on a larger disk' },
    )
  }
  return { goVersion: goVersion ?? '' }
}

/** Whether a version such as `go1.26.8` is new enough. */
export function isRecent(goVersion: string): boolean {
  const [, major, minor] = /^go(\d+)\.(\d+)/.exec(goVersion) ?? []
  if (major === undefined || minor === undefined) return goVersion.startsWith('devel')
  return Number(major) > minimumGo[0] || (Number(major) === minimumGo[0] && Number(minor) >= minimumGo[1])
}

async function missingTools(arch: Architecture): Promise<string[]> {
  const wanted: [string, string][] = Object.entries(tools)
  if (arch !== hostArchitecture()) wanted.push([crossCompiler(arch), `gcc-${gnuTriplet(arch)}`])
  const absent: string[] = []
  for (const [program, debianPackage] of wanted) {
    if (!(await onPath(program))) absent.push(`${program} (apt-get install ${debianPackage})`)
  }
  return absent
}

async function onPath(program: string): Promise<boolean> {
  for (const dir of (process.env['PATH'] ?? '').split(delimiter)) {
    if (
      await access(join(dir, program)).then(
        () => true,
        () => false,
      )
    )
      return true
  }
  return false
}

/** The architecture of this host, by Go's name. */
export function hostArchitecture(): Architecture {
  return process.arch === 'arm64' ? 'arm64' : 'amd64'
}

/** The C compiler that builds for an architecture. */
export function crossCompiler(arch: Architecture): string {
  return arch === hostArchitecture() ? 'gcc' : `${gnuTriplet(arch)}-gcc`
}

/** The name of an architecture in paths of Debian libraries. */
export function gnuTriplet(arch: Architecture): string {
  return arch === 'arm64' ? 'aarch64-linux-gnu' : 'x86_64-linux-gnu'
}
