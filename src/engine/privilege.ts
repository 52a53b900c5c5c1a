/** What a node container is given beyond a plain container's rights. */
export interface Privilege {
  /** `['ALL']`, less {@link Privilege.capDrop}. */
  capAdd: string[]
  /** The capabilities that the host lacks. */
  capDrop: string[]
  securityOpt: string[]
  /** Every device, as a privileged container has. */
  deviceCgroupRules: string[]
  /** /proc and /sys without masked and read-only parts (`systempaths=unconfined`). */
  unmasked: boolean
  /** The capabilities that the host lacks, with their kernel names: `CAP_SYS_RESOURCE`. */
  missing: string[]
}
