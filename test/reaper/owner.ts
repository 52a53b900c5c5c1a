/**
 * A process that owns things, for the tests to kill: `owner.ts CLUSTER MODE`. It prints one line of JSON when it is
 * ready, and obeys the lines of its standard input.
 */
import { createInterface } from 'node:readline'
import { Worker } from 'node:worker_threads'
import {
  connectEngine,
  createContainer,
  createNetwork,
  createVolume,
  startContainer,
} from '../../src/engine/index.ts'
import { label, makePrivateFolder, ownership, startWatchdog } from '../../src/reaper/index.ts'
import { tinyImage } from '../engine/tiny-image.ts'

const [, , cluster = '', mode = 'hold'] = process.argv
const engine = await connectEngine()
const labels = ownership(cluster)

if (mode === 'thread') {
  // The lease is taken in a worker thread that ends, as a Vitest worker does.
  const worker = new Worker(new URL(import.meta.url), { argv: [cluster, 'in-thread'] })
  await new Promise((resolve) => worker.once('message', resolve))
  await worker.terminate()
  ready({})
} else {
  const lease = await startWatchdog(engine)
  const network = await createNetwork(engine, { name: cluster, labels })
  await createVolume(engine, { name: cluster, labels })
  const folder = await makePrivateFolder('test')
  for (const role of ['control-plane', 'worker']) {
    const name = `${cluster}-${role}`
    await createContainer(engine, {
      ...{ name, image: tinyImage, network: network.name, volumes: ['/data'] },
      labels: { ...labels, [label.role]: role },
      mounts: [{ type: 'volume', source: cluster, target: '/kept' }],
    })
    await startContainer(engine, name)
  }
  ready({ folder })

  if (mode === 'in-thread') {
    const { parentPort } = await import('node:worker_threads')
    parentPort?.postMessage('ready')
  }
  if (mode === 'creating') {
    for (let i = 0; ; i++)
      await createContainer(engine, { name: `${cluster}-more-${i}`, image: tinyImage, labels })
  }
  for await (const line of createInterface({ input: process.stdin })) {
    if (line === 'release') {
      await lease.release()
      ready({ released: true })
    }
  }
}

// Keeps the process; what the test kills must not end by itself.
setInterval(() => undefined, 1000)

function ready(facts: object): void {
  if (mode !== 'in-thread') console.log(JSON.stringify({ owner: labels[label.owner], ...facts }))
}
