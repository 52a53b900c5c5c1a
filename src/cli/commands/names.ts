/** The cluster that commands are about when they are told none. */
export const defaultName = 'mayfly'

/** Names from an option that takes a list: `a,b`. */
export function splitList(text: string): string[] {
  return text.split(',').filter((name) => name !== '')
}
