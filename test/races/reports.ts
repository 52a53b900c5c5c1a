/** What Go's race detector reports, as it stands in the logs of a node. */

/** One pair of accesses that nothing orders. */
export interface Race {
  /** The two functions that accessed the same memory, as Go names them. */
  functions: readonly string[]
  /** The whole report. */
  text: string
}

const border = '=================='
/** What a container runtime puts before each line (CRI's log format), and a journal nothing. */
const logPrefix = /^\S+ std(?:out|err) [FP] /gm

/** The different races of a log. Pure. */
export function racesIn(log: string): Race[] {
  const blocks = log.replaceAll(logPrefix, '').split(border)
  const races = blocks
    .filter((block) => block.includes('WARNING: DATA RACE'))
    .map((text) => ({ functions: accessesIn(text), text: text.trim() }))
  const different = new Map(races.map((race) => [race.functions.toSorted().join(), race]))
  return [...different.values()]
}

/** The function below each headline of an access. */
function accessesIn(report: string): string[] {
  return [...report.matchAll(/^(?:Previous )?(?:read|write) at .*\n\s+(\S+)$/gim)].map(
    ([, name = '']) => name,
  )
}
