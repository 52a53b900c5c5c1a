import { access, readFile, statfs } from 'node:fs/promises'
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
    const command = [program, ...args.slice(0, 2)].join(' ')
    const ending = thrown.exitCode === undefined ? thrown.originalMessage : `exit code ${thrown.exitCode}`
    throw new MayflyError(
      'NODE_IMAGE_BUILD_FAILED',
      explainFailure(output)?.summary ?? `${command} … failed: ${ending}`,
      {
        output: output.split('\n').slice(-40).join('\n'),
        cause: thrown,
        ...hintOf(explainFailure(output)),
      },
    )
  }
}

const hintOf = (explained: { hint: string } | undefined) => (explained ? { hint: explained.hint } : {})

/** What a build tool's output says about the host, where it is the host's fault. */
export function explainFailure(output: string): { summary: string; hint: string } | undefined {
  if (/no space left on device/i.test(output)) {
    return {
      summary: 'The disk is full',
      hint: 'Free some space and build again; finished steps are kept',
    }
  }
  if (/GOPROXY=off|GOPROXY list is not the empty string/.test(output)) {
    return {
      summary: 'Go is told not to fetch modules (GOPROXY=off), and some are not in its module cache',
      hint: 'Unset GOPROXY, or name a proxy that can be reached',
    }
  }
  if (
    /proxyconnect|dial tcp|no such host|i\/o timeout|TLS handshake timeout|connection refused/.test(output)
  ) {
    return {
      summary: 'Go modules cannot be fetched: the module proxy is out of reach',
      hint: 'Check the network, or set GOPROXY to a module proxy that can be reached',
    }
  }
  if (/Temporary failure resolving|Could not connect to|Failed to fetch/.test(output)) {
    return {
      summary: "Debian packages cannot be fetched: Debian's mirror is out of reach",
      hint: 'Check the network and the proxy settings of apt',
    }
  }
  return undefined
}

const minimumGo = [1, 26] as const
const minimumFreeBytes = 8 * 2 ** 30

/** A program that the build calls, and the Debian package that has it. */
const tools = {
  mmdebstrap: 'mmdebstrap',
  tar: 'tar',
  gcc: 'gcc',
  make: 'make',
  'pkg-config': 'pkg-config',
} as const

/** C libraries, by the names that pkg-config knows and that Debian's packages begin with. */
const linkedLibraries = ['libseccomp', 'libcap'] as const

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
  const missing = await missingTools(arch)
  const goVersion = await askGo()
  const lacking = lackingGo(goVersion)
  if (lacking) missing.unshift(lacking)
  if (missing.length > 0) {
    throw new MayflyError(
      'NODE_IMAGE_BUILD_FAILED',
      `Building a node image needs ${missing.join('; and ')}`,
      {
        hint: 'Install what is missing and build again',
      },
    )
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

/**
 * The version of the Go toolchain on the PATH.
 *
 * @throws MayflyError `NODE_IMAGE_BUILD_FAILED` when there is none, or it is too old
 */
export async function installedGo(): Promise<string> {
  const goVersion = await askGo()
  const lacking = lackingGo(goVersion)
  if (goVersion !== undefined && lacking === undefined) return goVersion
  throw new MayflyError('NODE_IMAGE_BUILD_FAILED', `Compiling mayfly-node needs ${lacking}`)
}

async function askGo(): Promise<string | undefined> {
  const { stdout, failed } = await execa('go', ['env', 'GOVERSION'], { reject: false })
  return failed ? undefined : stdout
}

/** What is wrong with a Go toolchain, as it reads after "needs". */
function lackingGo(goVersion: string | undefined): string | undefined {
  const needed = `Go ${minimumGo.join('.')} or newer`
  if (goVersion === undefined) return `${needed}, which is not on the PATH (see go.dev/dl)`
  return isRecent(goVersion) ? undefined : `${needed}; ${goVersion} was found`
}

/** Whether a version such as `go1.26.8` is new enough. */
export function isRecent(goVersion: string): boolean {
  const [, major, minor] = /^go(\d+)\.(\d+)/.exec(goVersion) ?? []
  if (major === undefined || minor === undefined) return goVersion.startsWith('devel')
  return Number(major) > minimumGo[0] || (Number(major) === minimumGo[0] && Number(minor) >= minimumGo[1])
}

async function missingTools(arch: Architecture): Promise<string[]> {
  const foreign = arch !== hostArchitecture()
  const debianArchitecture = foreign ? `:${arch}` : ''
  const wanted: [string, string][] = Object.entries(tools)
  if (foreign) wanted.push([crossCompiler(arch), `gcc-${gnuTriplet(arch).replace('_', '-')}`])
  const absent: string[] = []
  for (const [program, debianPackage] of wanted) {
    if (!(await onPath(program))) absent.push(`${program} (apt-get install ${debianPackage})`)
  }
  for (const library of linkedLibraries) {
    if (!(await exists(`${pkgConfigPath(arch)}/${library}.pc`)))
      absent.push(
        `${library} to link container runtimes with (apt-get install ${library}-dev${debianArchitecture})`,
      )
  }
  if (foreign && !(await exists(`/usr/${gnuTriplet(arch)}/lib/libc.a`)))
    absent.push(`the C library to link with (apt-get install libc6-dev-${arch}-cross)`)
  if (foreign && !((await onPath('arch-test')) && (await runsForeignPrograms(arch))))
    absent.push(
      `an emulator that sets up ${arch} packages (apt-get install qemu-user-static binfmt-support arch-test)`,
    )
  return absent
}

/** Where pkg-config finds the libraries of an architecture. */
export function pkgConfigPath(arch: Architecture): string {
  return `/usr/lib/${gnuTriplet(arch)}/pkgconfig`
}

/**
 * Whether the kernel starts another architecture's programs through an emulator.
 *
 * @see https://docs.kernel.org/admin-guide/binfmt-misc.html
 */
async function runsForeignPrograms(arch: Architecture): Promise<boolean> {
  const cpu = gnuTriplet(arch).split('-')[0]
  const registered = await readFile(`/proc/sys/fs/binfmt_misc/qemu-${cpu}`, 'utf8').catch(() => '')
  // F: the emulator is opened beforehand, and so is found from inside another root file system.
  return registered.startsWith('enabled') && /^flags:.*F/m.test(registered)
}

async function onPath(program: string): Promise<boolean> {
  for (const dir of (process.env['PATH'] ?? '').split(delimiter)) {
    if (await exists(join(dir, program))) return true
  }
  return false
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
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
