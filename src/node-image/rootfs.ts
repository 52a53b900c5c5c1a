import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Announce, type Built, cached } from './cache.ts'
import { type Architecture, debianPackages, debianSuite, unwantedUnits, wantedUnits } from './recipe.ts'
import { run } from './toolchain.ts'

/** What no node needs to have on its disk. */
const excludedPaths = ['/usr/share/man/*', '/usr/share/doc/*', '/usr/share/locale/*', '/usr/share/info/*']

/** One package of the root file system. */
export interface DebianPackage {
  name: string
  version: string
  /** Text of its `copyright` file below /usr/share/doc. */
  copyright: string
}

/**
 * Makes the root file system from Debian packages. The folder has `rootfs.tar`, and the same files unpacked in
 * `tree/` for the layers that borrow programs from it.
 */
export async function makeRootfs(arch: Architecture, epoch: number, announce?: Announce): Promise<Built> {
  const unitCommands = keepOnlyWantedUnits()
  const inputs = [debianSuite, debianPackages, unitCommands, excludedPaths, arch, epoch, 3]
  const produce = async (draft: string) => {
    const archive = join(draft, 'rootfs.tar')
    await run(
      'mmdebstrap',
      [
        '--variant=apt',
        `--architectures=${arch}`,
        `--include=${debianPackages.join(',')}`,
        '--aptopt=Acquire::Languages "none"',
        '--aptopt=APT::Install-Recommends "false"',
        ...excludedPaths.map((path) => `--dpkgopt=path-exclude=${path}`),
        // Licences stay: whoever passes an image on has to pass them on too.
        '--dpkgopt=path-include=/usr/share/doc/*/copyright',
        ...unitCommands.map((command) => `--customize-hook=${command}`),
        // A machine id in an image would be every node's.
        '--customize-hook=: > "$1/etc/machine-id"; rm -f "$1/var/lib/dbus/machine-id" "$1/etc/hostname" "$1/etc/resolv.conf"',
        debianSuite,
        archive,
      ],
      { env: { SOURCE_DATE_EPOCH: String(epoch) } },
    )
    const tree = join(draft, 'tree')
    await run('mkdir', [tree])
    await run('tar', [
      '-xf',
      archive,
      '-C',
      tree,
      '--exclude=./dev/*',
      '--no-same-owner',
      '--no-same-permissions',
    ])
  }
  return cached(`rootfs-${arch}`, inputs, produce, announce)
}

/** Commands that leave a node with the units it needs and no others. */
function keepOnlyWantedUnits(): string[] {
  const remove = 'rm -rf "$1"/etc/systemd/system/*.wants "$1"/usr/lib/systemd/system/*.target.wants'
  // Thirteen programs that look for disks, consoles and init scripts to make units of, one after another at each start.
  const removeGenerators = 'rm -rf "$1"/usr/lib/systemd/system-generators/*'
  const link = Object.entries(wantedUnits).flatMap(([target, units]) =>
    units.map((unit) => {
      const dir = `"$1/etc/systemd/system/${target}.wants"`
      const provided = unit.startsWith('systemd-')
        ? `/usr/lib/systemd/system/${unit}`
        : `/etc/systemd/system/${unit}`
      return `mkdir -p ${dir} && ln -s ${provided} ${dir}/${unit}`
    }),
  )
  const mask = unwantedUnits.map((unit) => `ln -s /dev/null "$1/etc/systemd/system/${unit}"`)
  return [
    remove,
    removeGenerators,
    ...link,
    ...mask,
    'ln -sf /usr/lib/systemd/system/multi-user.target "$1/etc/systemd/system/default.target"',
  ]
}

/**
 * The packages of a root file system, in the order of their names.
 *
 * @param rootfs Folder that {@link makeRootfs} filled
 */
export async function installedPackages(rootfs: string): Promise<DebianPackage[]> {
  const tree = join(rootfs, 'tree')
  const status = await readFile(join(tree, 'var/lib/dpkg/status'), 'utf8')
  const packages = parseDpkgStatus(status).map(async ({ name, version }) => {
    const copyright = await readFile(join(tree, 'usr/share/doc', name, 'copyright'), 'utf8').catch(() => '')
    return { name, version, copyright }
  })
  return Promise.all(packages)
}

/** The packages that dpkg's status file calls installed; its format is described in deb822(5). */
export function parseDpkgStatus(status: string): { name: string; version: string }[] {
  const field = (stanza: string, name: string) =>
    new RegExp(`^${name}: (.+)$`, 'm').exec(stanza)?.[1]?.trim() ?? ''
  return status
    .split(/\n\n+/)
    .filter((stanza) => field(stanza, 'Status') === 'install ok installed')
    .map((stanza) => ({ name: field(stanza, 'Package'), version: field(stanza, 'Version') }))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
}

/** Where the package versions of a root file system are written down, and those of the last build compared. */
export function pinnedPackagesFile(sources: string, arch: Architecture): string {
  return join(sources, 'rootfs-packages', `${arch}.json`)
}

/**
 * What differs between the packages that a build got from Debian's mirror and the ones that are written down:
 * a stable release changes with every security update, and its mirrors drop what it replaces.
 */
export async function packageDrift(
  pinnedFile: string,
  packages: readonly DebianPackage[],
): Promise<string[]> {
  const text = await readFile(pinnedFile, 'utf8').catch(() => undefined)
  if (text === undefined) return []
  const pinned = new Map(Object.entries(JSON.parse(text) as Record<string, string>))
  const drift: string[] = []
  for (const { name, version } of packages) {
    const expected = pinned.get(name)
    pinned.delete(name)
    if (expected !== version) drift.push(`${name} ${version} instead of ${expected ?? 'none'}`)
  }
  return [...drift, ...[...pinned].map(([name, version]) => `no ${name} instead of ${version}`)]
}
