// Makes a fresh machine ready for `npm run demo` and `npm test`. It runs before node_modules exists and under whatever
// Node is there, so it is plain JavaScript without dependencies. Each step is skipped when its result is there.
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))
const bin = join(root, 'node_modules', '.bin')

const enginePackages = ['docker.io', 'iptables', 'iproute2', 'kmod', 'procps']
const buildPackages = [
  'mmdebstrap',
  'gcc',
  'libc6-dev',
  'make',
  'libseccomp-dev',
  'libcap-dev',
  'pkg-config',
  'binutils',
]
// The tests make images of busybox, filter packets, and check certificates with OpenSSL.
const testPackages = ['busybox-static', 'nftables', 'openssl']

const steps = [
  ['Debian packages', installPackages],
  ['kernel limits', raiseInotifyLimits],
  ['container engine', startEngine],
  ['npm packages', installDependencies],
  ['node image', buildNodeImage],
]

for (const [name, run] of steps) {
  const started = Date.now()
  try {
    const skipped = await run()
    const took = `${((Date.now() - started) / 1000).toFixed(1)}s`
    console.log(skipped === undefined ? ` ✓ ${name}  ${took}` : ` - ${name} (${skipped})`)
  } catch (thrown) {
    console.error(` ✗ ${name}: ${thrown instanceof Error ? thrown.message : thrown}`)
    process.exit(1)
  }
}

function installPackages() {
  const wanted = [...(engineAnswers() ? [] : enginePackages), ...buildPackages, ...testPackages]
  if (!onPath('dpkg-query')) {
    return 'not Debian: see "Requirements" in the README for what has to be there'
  }
  const missing = wanted.filter((name) => !isInstalled(name))
  if (missing.length === 0) return 'up to date'
  if (process.getuid?.() !== 0) throw new Error(`run \`sudo apt-get install ${missing.join(' ')}\` first`)
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  run('apt-get', ['update', '-qq'], { env })
  run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...missing], { env })
  return undefined
}

function isInstalled(name) {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg's own placeholder
  const asked = spawnSync('dpkg-query', ['-W', '-f', '${db:Status-Status}', name], { encoding: 'utf8' })
  return asked.stdout === 'installed'
}

async function startEngine() {
  if (engineAnswers()) return 'answers'
  if (process.env.DOCKER_HOST)
    throw new Error(`DOCKER_HOST is ${process.env.DOCKER_HOST}, and nothing answers there`)
  if (process.getuid?.() !== 0 || !onPath('dockerd'))
    throw new Error('start Docker or Podman, or set DOCKER_HOST')
  const logFile = '/var/log/dockerd.log'
  const log = openSync(logFile, 'a')
  spawn('dockerd', [], { detached: true, stdio: ['ignore', log, log] }).unref()
  closeSync(log)
  for (const deadline = Date.now() + 60_000; Date.now() < deadline; ) {
    if (engineAnswers()) return undefined
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
  throw new Error(`dockerd does not answer after a minute; the end of ${logFile}:\n${tail(logFile)}`)
}

// Each node takes some two dozen inotify instances; Linux gives a user 128.
function raiseInotifyLimits() {
  const wanted = { max_user_instances: 1024, max_user_watches: 524288 }
  const low = Object.entries(wanted).filter(
    ([name, least]) => Number(readFileSync(`/proc/sys/fs/inotify/${name}`)) < least,
  )
  if (low.length === 0) return 'high enough'
  if (process.getuid?.() !== 0)
    return `low: run \`sudo sysctl ${low.map(([name, least]) => `fs.inotify.${name}=${least}`).join(' ')}\``
  for (const [name, least] of low) writeFileSync(`/proc/sys/fs/inotify/${name}`, String(least))
  return undefined
}

function engineAnswers() {
  return spawnSync('docker', ['version', '--format', '{{.Server.Version}}'], { stdio: 'ignore' }).status === 0
}

function tail(file) {
  return readFileSync(file, 'utf8').split('\n').slice(-20).join('\n')
}

function installDependencies() {
  const lock = createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .digest('hex')
  const stamp = join(root, 'node_modules', '.mayfly-lock')
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === lock) return 'up to date'
  // Not `npm ci`: it refuses a lock file written where a registry lacks other platforms' optional packages. A setup
  // changes no file of the checkout: npm's own versions write the same lock differently.
  run('npm', ['install', '--no-save', '--no-progress', '--loglevel=error'], { cwd: root })
  mkdirSync(join(root, 'node_modules'), { recursive: true })
  writeFileSync(stamp, lock)
  return undefined
}

function buildNodeImage() {
  // From here on the Node that the project itself brings.
  const env = { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH}` }
  run(join(bin, 'node'), ['src/cli/main.ts', 'build', 'node-image'], { cwd: root, env })
  return undefined
}

function onPath(program) {
  return (process.env.PATH ?? '').split(delimiter).some((dir) => existsSync(join(dir, program)))
}

function run(program, args, options = {}) {
  const { status, error } = spawnSync(program, args, { stdio: ['ignore', 'inherit', 'inherit'], ...options })
  if (error) throw error
  if (status !== 0) throw new Error(`\`${program} ${args.join(' ')}\` ended with exit code ${status}`)
}
