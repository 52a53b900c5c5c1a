/**
 * A process in the network of an engine that is restarted: creates the cluster that its argument describes, as JSON, and
 * tells. For each line that it reads it waits until the cluster is back, and tells what works there. At the end of its
 * input it deletes the cluster.
 */
import { createInterface } from 'node:readline'
import { type Cluster, createCluster, getCluster } from '../../src/index.ts'
import { until } from '../../src/wait.ts'
import { httpGet, inPod, run, webPod } from '../cluster/pods.ts'

const tell = (line: string) => process.stdout.write(`${line}\n`)
const limits = { timeoutMs: 30_000 }

const serverOf = ({ kubeconfig }: Cluster) => /server: .*/.exec(kubeconfig)?.[0]

const cluster = await createCluster({ ...JSON.parse(process.argv[2] ?? '{}'), progress: 'silent' })
const [first, last] = [cluster.nodes[0]?.name ?? '', cluster.nodes.at(-1)?.name ?? '']
await run(cluster.kube, webPod('web', last), {
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 'web', namespace: 'default' },
  spec: { selector: { app: 'web' }, ports: [{ port: 80, targetPort: 8080 }] },
})
tell('created')

let round = 0
for await (const _ of createInterface({ input: process.stdin })) {
  // As another process would find it.
  await using found = await getCluster(cluster.name)
  await found.start()
  const client = `client-${++round}`
  await run(found.kube, webPod(client, first))
  const answers = (ask: () => ReturnType<typeof inPod>) =>
    until(
      'an answer',
      async (_, report) => {
        const { exitCode, stdout, stderr } = await ask()
        report(stderr || stdout)
        return exitCode === 0 ? stdout : undefined
      },
      limits,
    )
  const facts = {
    sameServer: serverOf(found) === serverOf(cluster),
    oldHandle: await cluster.kube.request('GET', '/readyz'),
    service: await answers(() => httpGet(found.kube, client, 'http://web')),
    nameOfNode: await answers(() => inPod(found.kube, client, 'nslookup', `${last}.`)),
  }
  tell(JSON.stringify(facts))
}
await cluster.delete()
process.exit()
