import { Command } from 'commander'
import { clean } from '../../cluster/index.ts'

/** `mayfly clean` */
export function cleanCommand(): Command {
  return new Command('clean')
    .description('delete what dead processes left, and what has expired')
    .option('--all', 'delete every cluster, also those that are kept or in use')
    .action(async ({ all }: { all?: true }) => {
      const cleaned = await clean({ ...(all && { all }) })
      for (const { cluster, reason } of cleaned) console.error(`Removed cluster ${cluster}: ${reason}`)
      if (cleaned.length === 0) console.error('There was nothing to remove.')
    })
}
