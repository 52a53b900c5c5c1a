import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Built, cached, writeJson } from './cache.ts'
import { type Architecture, debianPackages, debianSuite, wantedUnits } from './recipe.ts'
import { run } from './toolchain.ts'

/** What no node needs to have on its disk. */
const excludedPaths = ['/usr/share/man/*', '/usr/share/doc/*', '/usr/share/locale/*', '/usr/share/info/*']

/** One package of the root file system, for the bill of materials. */
export interface DebianPackage {
  name: string
  version: string
}

/**
 * Makes the root file system from Debian packages. The folder has `rootfs.tar`, the same files unpacked in
 * `tree/` for the layers that borrow programs from it, and `packages.json`.
 */
export async function makeRootfs(arch: Architecture, epoch: number): Promise<Built> {
  const inputs = [debianSuite, debianPackages, wantedUnits, excludedPaths, arch, epoch, 1]
  return cached(`rootfs-${arch}`, inputs, async (draft) => {
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
        ...keepOnlyWantedUnits().map((command) => `--customize-hook=${command}`),
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
    await writeJson(join(draft, 'packages.json'), await installedPackages(tree))
    await writeFile(join(draft, 'architecture'), arch)
  })
}

/** Commands that leave a node with the units it needs and no others. */
function keepOnlyWantedUnits(): string[] {
  const remove = 'rm -rf "$1"/etc/systemd/system/*.wants "$1"/usr/lib/systemd/system/*.target.wants'
  const link = Object.entries(wantedUnits).flatMap(([target, units]) =>
    units.map((unit) => {
      const dir = `"$1/etc/systemd/system/${target}.wants"`
      const provided = unit.startsWith('systemd-')
        ? `/usr/lib/systemd/system/${unit}`
        : `/etc/systemd/system/${unit}`
      return `mkdir -p ${dir} && ln -s ${provided} ${dir}/${unit}`
    }),
  )
  return [
    remove,
    ...link,
    'ln -sf /usr/lib/systemd/system/multi-user.target "$1/etc/systemd/system/default.target"',
  ]
}

async function installedPackages(tree: string): Promise<DebianPackage[]> {
  const listed = await run('dpkg-query', [
    `--admindir=${tree}/var/lib/dpkg`,
    '-W',
    '-f',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg's own placeholders
    '${Package} ${Version}\n',
  ])
  return listed
    .trim()
    .split('\n')
    .map((line) => {
      const [name = '', version = ''] = line.split(' ')
      return { name, version }
    })
}
