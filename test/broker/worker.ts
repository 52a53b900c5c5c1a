/** A worker to be killed: asks the broker at its first argument for a cluster and tells its name, then lives on. */
import { leaseCluster } from '../../src/broker/worker.ts'

const [, , address = '', isolation] = process.argv
const { cluster } = await leaseCluster(address, {
  isolation: isolation as 'rollback',
  file: 'killed.test.ts',
})
process.stdout.write(`${cluster.name}\n`)
setInterval(() => undefined, 1_000_000)
