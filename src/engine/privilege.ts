/** What a node container is given beyond a plain container's rights. Plain data, fit for a file. */
export interface Privilege {
  /** `['ALL']`, less {@link Privilege.capDrop}. */
  capAdd: string[]
  /** The capabilities that the host lacks, as the engine's API calls them: `SYS_RESOURCE`. */
  capDrop: string[]
  securityOpt: string[]
  /** Every device, as a privileged container has; empty where the engine can't give that. */
  deviceCgroupRules: string[]
  /** In place of all else: whatever the engine calls privileged. Default false. */
  privileged?: boolean
  /** /proc and /sys without masked and read-only parts (`systempaths=unconfined`). */
  unmasked: boolean
  /** What the host lacks, with the kernel's names: `CAP_SYS_RESOURCE`. */
  missing: string[]
}

/** Less than a plain container has: for programs that only talk. */
export const noPrivilege: Privilege = {
  capAdd: [],
  capDrop: ['ALL'],
  securityOpt: ['no-new-privileges'],
  deviceCgroupRules: [],
  unmasked: false,
  missing: [],
}
