/** What a guest is busy with while a step takes its time: a step that fails has taken its nodes away by then. */
import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'

const ask = promisify(execFile)

const inNode = `
for log in /var/log/pods/kube-system_*/*/*.log; do echo "== $log"; tail -n 4 "$log" | cut -c 1-300; done
echo == kubelet; journalctl --no-pager --output=cat --unit=kubelet --lines=6 | cut -c 1-300`

/**
 * Prints, again and again until it is told to stop, the busiest processes and the last lines of each node's logs.
 *
 * @param client The engine's command line
 * @param everyMs Time between one look and the next
 */
export async function lookIn(client: string, everyMs: number, signal: AbortSignal): Promise<void> {
  while (await passes(everyMs, signal)) {
    const said = await Promise.all([
      readFile('/proc/loadavg', 'utf8'),
      output('ps', '-eo', 'pid,etimes,cputimes,stat,wchan:20,args', '--sort=-cputimes'),
      output(client, 'ps', '-a', '--format', '{{.Names}} {{.Status}}'),
    ])
    console.log(said.map((text) => shortened(text)).join('\n'))
    const nodes = await output(client, 'ps', '-q', '--filter', 'label=io.mayfly.cluster')
    for (const node of nodes.split('\n').filter(Boolean))
      console.log(await output(client, 'exec', node, 'sh', '-c', inNode))
  }
}

function passes(ms: number, signal: AbortSignal): Promise<boolean> {
  return sleep(ms, true, { signal, ref: false }).catch(() => false)
}

/** What a command says; a guest that is asked while its nodes come and go may refuse. */
async function output(command: string, ...args: string[]): Promise<string> {
  return ask(command, args, { timeout: 120_000 }).then(
    ({ stdout }) => stdout,
    (refused) => String(refused),
  )
}

function shortened(text: string): string {
  const lines = text.split('\n').slice(0, 16)
  return lines.map((line) => line.slice(0, 130)).join('\n')
}
