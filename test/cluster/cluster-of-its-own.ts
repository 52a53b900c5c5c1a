/**
 * A process that creates a cluster, by the defaults for all that names, ports and subnets are, tells its name on a line of
 * standard output, and deletes it when its standard input ends.
 */
import { createCluster } from '../../src/index.ts'

await using cluster = await createCluster({ progress: 'silent' })
process.stdout.write(`${cluster.name}\n`)
for await (const _ of process.stdin);
