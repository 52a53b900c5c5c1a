import { once } from 'node:events'
import type { Readable, Writable } from 'node:stream'

/**
 * Splits the engine's multiplexed stream into its two parts, with back pressure: nothing more is read while a part's
 * reader lags. Both parts must be read (or `resume()`d), else the other one stalls as well.
 *
 * Frames: 1 byte stream (1 stdout, 2 stderr), 3 zero bytes, 4 bytes big-endian length
 * (docs.docker.com/reference/api/engine, ContainerAttach, "Stream format").
 */
export async function demultiplex(source: Readable, stdout: Writable, stderr: Writable): Promise<void> {
  const header = Buffer.alloc(8)
  let headerBytes = 0
  let bodyBytes = 0
  for await (const read of source) {
    let chunk = read as Buffer
    while (chunk.length > 0) {
      if (bodyBytes === 0) {
        const taken = chunk.copy(header, headerBytes)
        headerBytes += taken
        chunk = chunk.subarray(taken)
        if (headerBytes < header.length) continue
        headerBytes = 0
        bodyBytes = header.readUInt32BE(4)
        continue
      }
      const body = chunk.subarray(0, bodyBytes)
      chunk = chunk.subarray(body.length)
      bodyBytes -= body.length
      const part = header[0] === 2 ? stderr : stdout
      if (!part.destroyed && !part.write(body)) await drained(part)
    }
  }
}

/** A reader that went away wants no more, and must not stall the other part. */
async function drained(part: Writable): Promise<void> {
  const over = new AbortController()
  try {
    await Promise.race([
      once(part, 'drain', { signal: over.signal }),
      once(part, 'close', { signal: over.signal }),
    ])
  } finally {
    over.abort()
  }
}
