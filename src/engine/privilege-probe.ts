import { randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { MayflyError } from '../errors.ts'
import { type AnswerOptions, answerOnce } from './answers.ts'
import { capabilityNames, failingAmong, missingFrom } from './capabilities.ts'
import { type Abortable, createContainer, removeContainer, startContainer } from './containers.ts'
import type { Engine } from './engine.ts'
import type { Privilege } from './privilege.ts'

/** How {@link probePrivilege} goes about it. */
export interface ProbeOptions extends Abortable, AnswerOptions {
  /** What the throwaway container runs; its outcome does not matter, only that it starts. Default `/bin/true`. */
  command?: string[]
  /** Labels for the throwaway containers, so that a sweep finds them after a crash. */
  labels?: Record<string, string>
}

/**
 * Finds the rights that a node container can have on the engine's host: all capabilities less those that the host
 * itself lacks, and the confinements lifted one by one. It is what `--privileged` means where that works, and still
 * works where a single missing capability makes the engine refuse `--privileged`. Throwaway containers tell; the answer
 * is kept for this engine, kernel and bounding set. Podman's nodes are privileged: what the host lacks is no reason for it
 * to refuse that, and its Docker API drops the rule for devices without a word (seen in 4.3).
 *
 * @param image Any image that the engine has
 * @throws MayflyError `HOST_UNFIT` when not even a container without capabilities starts
 */
export async function probePrivilege(
  engine: Engine,
  image: string,
  options: ProbeOptions = {},
): Promise<Privilege> {
  const daemonLacks = await missingFromDaemon(engine)
  const key = [engine.id, engine.version, engine.kernel, ...(daemonLacks ?? ['?'])].join(' ')
  return answerOnce('privilege', key, options, () => probe(engine, image, daemonLacks ?? [], options))
}

async function probe(
  engine: Engine,
  image: string,
  likelyMissing: readonly string[],
  { command = ['/bin/true'], labels = {}, signal }: ProbeOptions,
): Promise<Privilege> {
  let refusal: unknown
  // An older engine does not know the kernel's newer capabilities, and a newer one none that it lacks itself: they can
  // neither be given nor be dropped.
  const unknown = new Set<string>()
  const lacking = new Set<string>()
  const known = (names: readonly string[]) => names.filter((name) => !unknown.has(name))
  const starts = async (privilege: Privilege): Promise<boolean> => {
    const name = `mayfly-probe-${randomUUID().slice(0, 8)}`
    const spec = {
      name,
      image,
      labels,
      entrypoint: command,
      command: [],
      network: 'none',
      privateCgroupNamespace: true,
    }
    const { capAdd, capDrop } = privilege
    try {
      await createContainer(
        engine,
        { ...spec, privilege: { ...privilege, capAdd: known(capAdd), capDrop: known(capDrop) } },
        { signal },
      )
      await startContainer(engine, name, { signal })
      return true
    } catch (thrown) {
      if (!(thrown instanceof MayflyError) || thrown.code !== 'ENGINE_REFUSED') throw thrown
      const stranger = strangerIn(thrown.message)
      if (stranger && !unknown.has(stranger.name)) {
        unknown.add(stranger.name)
        if (stranger.lacking) lacking.add(`CAP_${stranger.name}`)
        return starts(privilege)
      }
      // Neither the image nor its command say anything about the host.
      if (
        /no such image|executable file not found|no such file or directory: unknown/i.test(thrown.message)
      ) {
        throw thrown
      }
      refusal = thrown
      return false
    } finally {
      await removeContainer(engine, name).catch(() => undefined)
    }
  }

  const found = await settle(engine, likelyMissing, starts)
  if (!found) {
    throw new MayflyError(
      'HOST_UNFIT',
      `${engine.describe()} can't start a container with the rights that a node needs`,
      {
        cause: refusal,
        ...(refusal instanceof Error && { output: refusal.message }),
        hint: `look whether ${engine.kind === 'podman' ? '`podman run --privileged`' : '`docker run` with `--cap-add ALL --security-opt seccomp=unconfined`'} works on this host`,
      },
    )
  }
  return {
    ...found,
    capDrop: known(found.capDrop),
    missing: [...new Set([...found.missing, ...lacking])],
  }
}

/** The capability that a Docker daemon refuses to hear of: as 20.10 says it, or 29, which has none of those it lacks. */
function strangerIn(refusal: string): { name: string; lacking: boolean } | undefined {
  const [, why, name] =
    /(unknown capability|not available in the current environment): "?(?:CAP_)?([A-Z_]+)/i.exec(refusal) ?? []
  return name === undefined ? undefined : { name: name.toUpperCase(), lacking: why !== 'unknown capability' }
}

/** Tries what is likely first: on most hosts, and on those whose daemon can be looked at, one container settles it. */
async function settle(
  engine: Engine,
  likelyMissing: readonly string[],
  starts: (privilege: Privilege) => Promise<boolean>,
): Promise<Privilege | undefined> {
  if (engine.kind === 'podman') return (await starts(podmanPrivilege)) ? podmanPrivilege : undefined
  const likely = privilegeLess(engine, likelyMissing)
  if (await starts(likely)) return likely

  // Not a matter of capabilities when a container without any does not start either.
  const bare = { ...likely, capAdd: [], capDrop: ['ALL'] }
  let deviceCgroupRules = likely.deviceCgroupRules
  if (!(await starts(bare))) {
    deviceCgroupRules = []
    if (!(await starts({ ...bare, deviceCgroupRules }))) return undefined
    const withoutDevices = { ...likely, deviceCgroupRules }
    if (await starts(withoutDevices)) return withoutDevices
  }
  const missing = await failingAmong(capabilityNames, (group) =>
    starts({ ...bare, deviceCgroupRules, capAdd: [...group] }),
  )
  const found = { ...privilegeLess(engine, missing), deviceCgroupRules }
  return (await starts(found)) ? found : undefined
}

const podmanPrivilege: Privilege = {
  privileged: true,
  capAdd: [],
  capDrop: [],
  securityOpt: [],
  deviceCgroupRules: [],
  unmasked: true,
  missing: [],
}

function privilegeLess(engine: Engine, missing: readonly string[]): Privilege {
  const has = (module: string) => engine.securityOptions.some((option) => option.startsWith(`name=${module}`))
  return {
    capAdd: ['ALL'],
    capDrop: [...missing],
    securityOpt: [
      'seccomp=unconfined',
      ...(has('apparmor') ? ['apparmor=unconfined'] : []),
      ...(has('selinux') ? ['label=disable'] : []),
    ],
    deviceCgroupRules: ['a *:* rwm'],
    unmasked: true,
    missing: missing.map((name) => `CAP_${name}`),
  }
}

/** What the daemon lacks, its containers lack as well. Only a local daemon can be looked at. */
async function missingFromDaemon(engine: Engine): Promise<string[] | undefined> {
  if (!engine.local || engine.rootless || engine.kind !== 'docker') return undefined
  try {
    const pid = (await readFile('/var/run/docker.pid', 'utf8')).trim()
    const [status, last] = await Promise.all([
      readFile(`/proc/${pid}/status`, 'utf8'),
      readFile('/proc/sys/kernel/cap_last_cap', 'utf8'),
    ])
    return missingFrom(status, last)
  } catch {
    return undefined
  }
}
