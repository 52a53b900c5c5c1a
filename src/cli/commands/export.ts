import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command } from 'commander'
import { exportLogs } from '../../cluster/index.ts'
import { defaultName } from './names.ts'

/** `mayfly export …` */
export function exportCommand(): Command {
  return new Command('export').description('export one of: logs').addCommand(logsCommand())
}

function logsCommand(): Command {
  return new Command('logs')
    .description("collect the logs of a cluster's nodes and pods, its objects and events; prints the folder")
    .argument('[dir]', 'folder to write to (default: a new temporary one)')
    .option('-n, --name <name>', 'name of the cluster', defaultName)
    .action(async (dir: string | undefined, { name }: { name: string }) => {
      console.log(await exportLogs(name, dir ?? (await mkdtemp(join(tmpdir(), 'mayfly-logs-')))))
    })
}
