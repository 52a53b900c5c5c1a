import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type Built, cached } from '../../src/node-image/cache.ts'
import { run } from '../../src/node-image/toolchain.ts'

const suite = 'trixie'

/** Bookworm's QEMU 7.2 crashes this kernel, so the emulator comes from the guest's own release. */
const emulatorPackages = ['qemu-system-x86', 'qemu-utils']

/** A host as most people have it: systemd, cgroup v2, AppArmor, Docker and Podman. */
const guestPackages = [
  'linux-image-cloud-amd64',
  'initramfs-tools',
  'systemd-sysv',
  'udev',
  'dbus',
  'dbus-user-session',
  'apparmor',
  'docker.io',
  'docker-cli',
  'podman',
  'netavark',
  'aardvark-dns',
  'nftables',
  'crun',
  'iptables',
  'iproute2',
  'kmod',
  'procps',
  'ca-certificates',
  'busybox-static',
]

const excludedPaths = ['/usr/share/man/*', '/usr/share/doc/*', '/usr/share/locale/*']

/** Nothing that wakes up by itself: the guest is slow enough. */
const unwantedUnits = [
  'apt-daily.timer',
  'apt-daily-upgrade.timer',
  'dpkg-db-backup.timer',
  'fstrim.timer',
  'e2scrub_all.timer',
  'e2scrub_reap.service',
  'getty@tty1.service',
  'netavark-dhcp-proxy.service',
  'netavark-dhcp-proxy.socket',
  'netavark-firewalld-reload.service',
]

/** What a run brings along is on the second disk. It is there before any engine starts, for it may configure them. */
const payloadUnit = `[Unit]
DefaultDependencies=no
After=systemd-remount-fs.service
Before=docker.service containerd.service podman.socket sysinit.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/mount -o ro -t ext4 /dev/vdb /payload
ExecStart=/usr/bin/cp -rT /payload/etc /etc

[Install]
WantedBy=sysinit.target
`

/** The one thing that the guest is for; then it is switched off. */
const taskUnit = `[Unit]
After=payload.service docker.service podman.socket multi-user.target
SuccessAction=poweroff
FailureAction=poweroff

[Service]
Type=oneshot
ExecStart=/payload/task
StandardInput=null
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0

[Install]
WantedBy=graphical.target
`

/** Makes the folder with QEMU and all that it needs. */
export function emulatorRoot(): Promise<Built> {
  return cached('hosts-emulator', [suite, emulatorPackages], (dir) => debootstrap(dir, emulatorPackages, []))
}

/** Makes the root file system of the guest, with its kernel in `boot/`. */
export function guestRoot(): Promise<Built> {
  const customize = [
    ...unwantedUnits.map((unit) => `ln -sf /dev/null "$1/etc/systemd/system/${unit}"`),
    'mkdir -p "$1/payload"',
    'echo /dev/vda / ext4 rw,noatime 0 0 > "$1/etc/fstab"',
    'echo guest > "$1/etc/hostname"',
    'echo 127.0.0.1 localhost guest > "$1/etc/hosts"',
    ...Object.entries({ payload: payloadUnit, task: taskUnit }).map(
      ([name, text]) =>
        `printf '%s' '${text}' > "$1/etc/systemd/system/${name}.service" && chroot "$1" systemctl enable ${name}`,
    ),
    'chroot "$1" systemctl enable podman.socket',
    'ln -sf /usr/lib/systemd/system/graphical.target "$1/etc/systemd/system/default.target"',
  ]
  return cached('hosts-guest', [suite, guestPackages, customize], (dir) =>
    debootstrap(dir, guestPackages, customize),
  )
}

async function debootstrap(dir: string, packages: readonly string[], customize: readonly string[]) {
  await run('mmdebstrap', [
    '--variant=apt',
    `--include=${packages.join(',')}`,
    '--aptopt=Acquire::Languages "none"',
    '--aptopt=APT::Install-Recommends "false"',
    ...excludedPaths.map((path) => `--dpkgopt=path-exclude=${path}`),
    ...customize.map((command) => `--customize-hook=${command}`),
    suite,
    dir,
  ])
}

/** The guest's kernel and its initial RAM disk. */
export async function kernelOf(guest: string): Promise<{ kernel: string; initrd: string }> {
  const names = await readdir(join(guest, 'boot'))
  const find = (prefix: string) => {
    const name = names.find((one) => one.startsWith(prefix))
    if (name === undefined) throw new Error(`the guest has no /boot/${prefix}*`)
    return join(guest, 'boot', name)
  }
  return { kernel: find('vmlinuz-'), initrd: find('initrd.img-') }
}
