/** Tries mayfly on a host as most people have it: `npm run test:hosts [-- HOST...]`. */
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { cached, cacheRoot, contentKey, hashFolder } from '../../src/node-image/cache.ts'
import { run } from '../../src/node-image/toolchain.ts'
import { type Host, hosts } from './host-list.ts'
import { diskUpon, type Machine, runMachine } from './machine.ts'
import { fileSystem, installedPackage, payloadDisk } from './payload.ts'
import { emulatorRoot, guestRoot } from './recipe.ts'

const minute = 60_000
/** How long one guest may run; `MAYFLY_HOSTS_MINUTES` for machines that are busy otherwise. */
const limitMs = Number(process.env['MAYFLY_HOSTS_MINUTES'] ?? 30) * minute
const diskSize = '16G'
const nodeImage = process.env['MAYFLY_NODE_IMAGE'] ?? 'mayfly/node:v1.37.2'
/** The suite is gone through with clusters of so many nodes only; default: with one and with two. */
const nodes = process.env['MAYFLY_HOSTS_NODES'] ?? ''

// A guest ends with this process, also when that is told to.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(1))

const wanted = process.argv.slice(2)
const names = wanted.length > 0 ? wanted : Object.keys(hosts)
const verdicts: [name: string, verdict: string][] = []
for (const name of names) {
  const host = hosts[name]
  if (!host) throw new Error(`There is no host "${name}", only ${Object.keys(hosts).join(', ')}`)
  verdicts.push([name, await tryHost(name, host)])
}
for (const [name, verdict] of verdicts) console.log(`${name}: ${verdict}`)
process.exitCode = verdicts.every(([, verdict]) => verdict === 'passed') ? 0 : 1

/** Runs the suite in one host and tells what became of it. */
async function tryHost(name: string, host: Host): Promise<string> {
  const emulator = await step('emulator', emulatorRoot)
  const guest = await step('guest', guestRoot)
  const base = await step('disk of the guest', () =>
    cached('hosts-disk', [guest.key, diskSize], (dir) => fileSystem(join(dir, 'disk'), guest.dir, diskSize)),
  )
  const installed = await step('package', async () => {
    const inputs = [
      await hashFolder('src'),
      await hashFolder('node-image'),
      await hashFolder('test/hosts/guest'),
    ]
    return cached('hosts-package', [inputs, process.version], installedPackage)
  })
  const loaded = await step(`node image in ${name}`, () =>
    loadNodeImage(host, { emulator, guest, base, installed }),
  )

  const work = join(cacheRoot(), 'node-image', `hosts-run-${process.pid}`)
  await mkdir(work, { recursive: true })
  try {
    const [disk, payload] = [join(work, 'disk'), join(work, 'payload')]
    await diskUpon(emulator.dir, join(loaded.dir, 'disk'), 'qcow2', disk)
    const env = {
      MAYFLY_NODE_IMAGE: nodeImage,
      MAYFLY_HOSTS_REFERENCE_MS: await referenceMs(),
      MAYFLY_HOSTS_NODES: nodes,
      ...host.env,
    }
    const exports = Object.entries(env).map(([key, value]) => `export ${key}=${value}`)
    const task = [...exports, 'exec node /payload/project/smoke.ts'].join('\n')
    await payloadDisk(payload, installed.dir, { task, etc: host.etc ?? {} })
    let verdict = 'no verdict'
    const ended = await runMachine(machineOf(host, { emulator, guest }, disk, [payload]), {
      limitMs,
      onLine: (line) => {
        verdict = /^VERDICT (.+)$/.exec(line)?.[1] ?? verdict
        console.log(`  ${name} | ${line}`)
      },
    })
    return ended ? verdict : `${verdict}, and cut off`
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

type Made = Awaited<ReturnType<typeof cached>>

/** The guest as a host has it: it runs from one disk, and reads the others. */
function machineOf(
  host: Host,
  { emulator, guest }: Record<'emulator' | 'guest', Made>,
  disk: string,
  readOnly: readonly string[],
): Machine {
  return {
    emulator: emulator.dir,
    guest: guest.dir,
    kernelOptions: host.kernelOptions ?? [],
    disks: [
      { file: disk, format: 'qcow2' },
      ...readOnly.map((file) => ({ file, format: 'raw' as const, readOnly: true })),
    ],
  }
}

/** Makes a disk of the guest whose engine has the node image: it takes a minute or two. */
async function loadNodeImage(
  host: Host,
  { emulator, guest, base, installed }: Record<'emulator' | 'guest' | 'base' | 'installed', Made>,
): Promise<Made> {
  const imageId = await run('docker', ['image', 'inspect', '--format', '{{.Id}}', nodeImage])
  return cached(
    'hosts-loaded',
    [base.key, imageId, nodeImage, contentKey(host.etc ?? {}), host.load],
    async (dir) => {
      const [disk, payload, archive] = [join(dir, 'disk'), join(dir, 'payload'), join(dir, 'image')]
      await run('docker', ['save', '-o', archive, nodeImage])
      await diskUpon(emulator.dir, join(base.dir, 'disk'), 'raw', disk)
      // An archive ends by itself, so that it can be read from a bare disk.
      const task = `${host.load} < /dev/vdc && sync && echo LOADED`
      await payloadDisk(payload, installed.dir, { task, etc: host.etc ?? {} })
      let isLoaded = false
      const ended = await runMachine(machineOf(host, { emulator, guest }, disk, [payload, archive]), {
        limitMs: 10 * minute,
        onLine: (line) => {
          isLoaded ||= line.startsWith('LOADED')
          console.log(`  load | ${line}`)
        },
      })
      if (!ended || !isLoaded) throw new Error('the node image could not be loaded in the guest')
      await Promise.all([payload, archive].map((file) => rm(file)))
    },
  )
}

/** What the suite's measure of slowness takes on this machine at its best, in milliseconds. */
async function referenceMs(): Promise<string> {
  const seen: number[] = []
  while (seen.length < 5) {
    const { stdout } = await execa(process.execPath, ['test/hosts/guest/slowness.ts'])
    seen.push(Number(stdout))
  }
  return String(Math.min(...seen))
}

async function step<T extends { fresh: boolean }>(what: string, make: () => Promise<T>): Promise<T> {
  const started = Date.now()
  const made = await make()
  const took = `${((Date.now() - started) / 1000).toFixed(1)}s`
  console.log(made.fresh ? ` ✓ ${what}  ${took}` : ` - ${what} (up to date)`)
  return made
}
