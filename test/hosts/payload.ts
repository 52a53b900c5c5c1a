import { chmod, copyFile, cp, mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { run } from '../../src/node-image/toolchain.ts'

const root = resolve(import.meta.dirname, '../..')

/** What a run of the guest brings along besides its own disk. */
export interface Payload {
  /** Shell commands that are the guest's task, in a folder of its own with Node.js on the PATH. */
  task: string
  /** Files below /etc of the guest, by path. */
  etc?: Record<string, string>
}

/**
 * Makes the folder with everything that is the same in each run of one state of the project: Node.js, and an empty
 * project that has installed the packed package.
 */
export async function installedPackage(dir: string): Promise<void> {
  const packed = await mkdtemp(join(await realpath(tmpdir()), 'mayfly-hosts-'))
  try {
    const stdout = await run('npm', ['pack', '--json', '--pack-destination', packed], { cwd: root })
    const [{ filename }] = JSON.parse(stdout.slice(stdout.indexOf('[\n'))) as [{ filename: string }]
    const project = join(dir, 'project')
    await mkdir(project, { recursive: true })
    await writeFile(join(project, 'package.json'), '{ "private": true, "type": "module" }\n')
    const install = ['install', '--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error']
    await run('npm', [...install, join(packed, filename)], { cwd: project })
  } finally {
    await rm(packed, { recursive: true, force: true })
  }
  await mkdir(join(dir, 'bin'))
  // This very Node.js, which came out of npm's package `node` and is linked against the C library only.
  await copyFile(process.execPath, join(dir, 'bin/node'))
  await cp(join(import.meta.dirname, 'guest'), join(dir, 'project'), { recursive: true })
}

/** Makes the disk that is mounted at /payload. */
export async function payloadDisk(
  file: string,
  installed: string,
  { task, etc = {} }: Payload,
): Promise<void> {
  const dir = await mkdtemp(join(dirname(file), 'payload-'))
  try {
    await run('cp', ['-a', `${installed}/.`, dir])
    const script = `#!/bin/sh\nexport PATH=/payload/bin:$PATH HOME=/root\ncd /root\n${task}\n`
    await writeFile(join(dir, 'task'), script)
    await chmod(join(dir, 'task'), 0o755)
    await mkdir(join(dir, 'etc'))
    for (const [path, content] of Object.entries(etc)) {
      await mkdir(dirname(join(dir, 'etc', path)), { recursive: true })
      await writeFile(join(dir, 'etc', path), content)
    }
    await fileSystem(file, dir, '1G')
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

/** Makes a disk with an ext4 file system that has the files of a folder. */
export async function fileSystem(file: string, dir: string, size: string): Promise<void> {
  await run('mkfs.ext4', ['-q', '-F', '-d', dir, file, size])
}
