import { spawn } from 'node:child_process'
import { access, constants, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { run } from '../../src/node-image/toolchain.ts'
import { kernelOf } from './recipe.ts'

/** A guest that is switched on. */
export interface Machine {
  /** Folder with QEMU. */
  emulator: string
  /** Folder with the guest's kernel. */
  guest: string
  /** Its disks: vda, vdb and so on. */
  disks: readonly { file: string; format: 'raw' | 'qcow2'; readOnly?: boolean }[]
  /** More of the kernel's command line. */
  kernelOptions?: readonly string[]
}

const memoryMiB = 6144
const processors = 2

/**
 * Switches a guest on and tells what its console shows, until it is off again. Without hardware virtualisation every
 * instruction is translated, and it is some fifteen times slower than the machine around it.
 *
 * @param limitMs It is cut off after so long
 * @param onLine Gets each line of the console
 * @returns Whether it switched itself off in time
 */
export async function runMachine(
  { emulator, guest, disks, kernelOptions = [] }: Machine,
  { limitMs, onLine }: { limitMs: number; onLine: (line: string) => void },
): Promise<boolean> {
  const { kernel, initrd } = await kernelOf(guest)
  const options = [
    'root=/dev/vda',
    'rw',
    'console=ttyS0',
    'quiet',
    'loglevel=3',
    'panic=-1',
    'mitigations=off',
  ]
  const [program, ...args] = inEmulator(emulator, 'qemu-system-x86_64')
  const share = join(emulator, 'usr/share')
  const qemu = spawn(
    'nice',
    [
      ...['-n', '5', program ?? '', ...args, '-nodefaults', '-no-user-config', '-display', 'none'],
      ...['-L', join(share, 'qemu'), '-L', join(share, 'seabios'), '-no-reboot', '-machine', 'q35'],
      ...(await processor()),
      ...['-smp', `${processors}`],
      ...['-m', `${memoryMiB}`, '-serial', 'stdio', '-device', 'virtio-rng-pci', '-nic', 'none'],
      ...disks.flatMap(({ file, format, readOnly = false }) => [
        '-drive',
        `file=${file},format=${format},if=virtio,cache=unsafe,readonly=${readOnly ? 'on' : 'off'}`,
      ]),
      ...['-kernel', kernel, '-initrd', initrd, '-append'],
      [
        ...options,
        'systemd.show_status=false',
        'systemd.mask=serial-getty@ttyS0.service',
        ...kernelOptions,
      ].join(' '),
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  const cut = () => qemu.kill('SIGKILL')
  const timer = setTimeout(cut, limitMs)
  process.once('exit', cut)
  for await (const line of createInterface({ input: qemu.stdout })) onLine(plain(line))
  clearTimeout(timer)
  process.off('exit', cut)
  if (qemu.exitCode === null && qemu.signalCode === null) await new Promise((end) => qemu.once('close', end))
  return qemu.exitCode === 0
}

/** The processor as the host has it where the host can lend it, else an emulated one. */
async function processor(): Promise<string[]> {
  const isLent =
    /^flags\s*:.* (vmx|svm) /m.test(await readFile('/proc/cpuinfo', 'utf8')) &&
    (await access('/dev/kvm', constants.R_OK | constants.W_OK).then(
      () => true,
      () => false,
    ))
  if (isLent) return ['-accel', 'kvm', '-cpu', 'host']
  // Five levels of page tables cost an emulated machine much and give it nothing.
  return ['-accel', 'tcg,thread=multi,tb-size=1024', '-cpu', 'max,la57=off']
}

/** A line without what moves a terminal's cursor. */
function plain(line: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences begin with one
  return line.replace(/\x1b\[[0-9;?!]*[ -/]*[@-~]/g, '').replace(/[\r\x1b]/g, '')
}

/** Makes a disk that starts as another one and keeps only what is written to it. */
export async function diskUpon(emulator: string, base: string, format: 'raw' | 'qcow2', file: string) {
  const [program = '', ...args] = inEmulator(emulator, 'qemu-img')
  await run(program, [...args, 'create', '-q', '-f', 'qcow2', '-b', base, '-F', format, file])
}

/** Calls a program of the emulator's folder with that folder's own libraries. */
function inEmulator(emulator: string, program: string): string[] {
  return [
    join(emulator, 'lib64/ld-linux-x86-64.so.2'),
    '--library-path',
    join(emulator, 'usr/lib/x86_64-linux-gnu'),
    join(emulator, 'usr/bin', program),
  ]
}
