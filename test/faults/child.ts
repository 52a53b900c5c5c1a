/**
 * A process to be killed: creates the cluster that its argument describes, as JSON, and tells of each step on a line of
 * standard output, first of all by what name the labels know it.
 */
import { createCluster } from '../../src/index.ts'
import { label, ownership } from '../../src/reaper/index.ts'

const tell = (line: string) => process.stdout.write(`${line}\n`)

tell(`owner ${ownership('any')[label.owner]}`)
await createCluster({
  ...JSON.parse(process.argv[2] ?? '{}'),
  progress: 'silent',
  onProgress: ({ type, step }) => tell(`${type} ${step}`),
})
tell('created')
// The watchdog's pipe keeps no process alive; this one lives until it is killed.
setInterval(() => undefined, 1_000_000)
