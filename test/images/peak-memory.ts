/**
 * Streams an image into a node from a process of its own, and prints how many MiB of memory that took at most:
 *
 *     node test/images/peak-memory.ts CONTAINER IMAGE
 */
import { readFile } from 'node:fs/promises'
import { connectEngine } from '../../src/engine/index.ts'
import { loadImages } from '../../src/images/index.ts'

const [containerId = '', image = ''] = process.argv.slice(2)
await loadImages(await connectEngine(), [{ name: 'node', containerId }], [image], { strategy: 'stream' })
const [, kib] = /^VmHWM:\s+(\d+) kB$/m.exec(await readFile('/proc/self/status', 'utf8')) ?? []
console.log(Math.round(Number(kib) / 1024))
