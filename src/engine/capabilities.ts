/**
 * The capabilities of Linux in the order of their numbers (include/uapi/linux/capability.h), without the `CAP_` that
 * container engines leave out as well.
 */
export const capabilityNames = [
  'CHOWN',
  'DAC_OVERRIDE',
  'DAC_READ_SEARCH',
  'FOWNER',
  'FSETID',
  'KILL',
  'SETGID',
  'SETUID',
  'SETPCAP',
  'LINUX_IMMUTABLE',
  'NET_BIND_SERVICE',
  'NET_BROADCAST',
  'NET_ADMIN',
  'NET_RAW',
  'IPC_LOCK',
  'IPC_OWNER',
  'SYS_MODULE',
  'SYS_RAWIO',
  'SYS_CHROOT',
  'SYS_PTRACE',
  'SYS_PACCT',
  'SYS_ADMIN',
  'SYS_BOOT',
  'SYS_NICE',
  'SYS_RESOURCE',
  'SYS_TIME',
  'SYS_TTY_CONFIG',
  'MKNOD',
  'LEASE',
  'AUDIT_WRITE',
  'AUDIT_CONTROL',
  'SETFCAP',
  'MAC_OVERRIDE',
  'MAC_ADMIN',
  'SYSLOG',
  'WAKE_ALARM',
  'BLOCK_SUSPEND',
  'AUDIT_READ',
  'PERFMON',
  'BPF',
  'CHECKPOINT_RESTORE',
] as const

/**
 * The capabilities that a bounding set lacks.
 *
 * @param status Text of a /proc/PID/status
 * @param lastCapability Text of /proc/sys/kernel/cap_last_cap: what the kernel does not know is not missed
 * @returns `undefined` when the text has no bounding set
 */
export function missingFrom(status: string, lastCapability: string): string[] | undefined {
  const hex = /^CapBnd:\s*([0-9a-f]+)$/m.exec(status)?.[1]
  const last = Number.parseInt(lastCapability, 10)
  if (!hex || Number.isNaN(last)) return undefined
  const bounding = BigInt(`0x${hex}`)
  return capabilityNames.filter((_, bit) => bit <= last && ((bounding >> BigInt(bit)) & 1n) === 0n)
}

/**
 * Finds the members of `names` that fail, asking for groups: a group in which none fails is settled with one question.
 * Few failures among many cost few questions.
 */
export async function failingAmong(
  names: readonly string[],
  worksWith: (group: readonly string[]) => Promise<boolean>,
): Promise<string[]> {
  if (names.length === 0 || (await worksWith(names))) return []
  if (names.length === 1) return [...names]
  const half = names.length >> 1
  return [
    ...(await failingAmong(names.slice(0, half), worksWith)),
    ...(await failingAmong(names.slice(half), worksWith)),
  ]
}
