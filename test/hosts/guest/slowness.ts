/** A fixed amount of work such as Node.js, Go programs and containers do; prints what it took, in milliseconds. */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'

const started = performance.now()
for (let count = 0; count < 10; count++) spawnSync('/bin/true')
let sum = 0
for (let count = 0; count < 30_000_000; count++) sum = (sum * 31 + count) % 1_000_003
const block = Buffer.alloc(8 << 20, sum)
createHash('md5').update(block).digest()
for (let count = 0; count < 300; count++)
  JSON.parse(JSON.stringify({ list: Array.from({ length: 500 }, () => ({ count })) }))
console.log(Math.round(performance.now() - started))
