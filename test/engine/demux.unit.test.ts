import { PassThrough, Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { expect, test } from 'vitest'
import { demultiplex } from '../../src/engine/demux.ts'
import { until } from '../../src/wait.ts'

const frame = (stream: 1 | 2, body: string) => {
  const header = Buffer.alloc(8)
  header[0] = stream
  header.writeUInt32BE(Buffer.byteLength(body), 4)
  return Buffer.concat([header, Buffer.from(body)])
}

test.each([1, 3, 8, 9, 1000])('frames that arrive in pieces of %i bytes come out whole', async (size) => {
  const bytes = Buffer.concat([
    frame(1, 'out '),
    frame(2, 'err '),
    frame(1, ''),
    frame(2, 'or'),
    frame(1, 'put'),
  ])
  const pieces: Buffer[] = []
  for (let at = 0; at < bytes.length; at += size) pieces.push(bytes.subarray(at, at + size))
  const [stdout, stderr] = [new PassThrough(), new PassThrough()]
  await demultiplex(Readable.from(pieces), stdout, stderr)
  stdout.end()
  stderr.end()
  expect(await Promise.all([text(stdout), text(stderr)])).toEqual(['out put', 'err or'])
})

test('nothing more is read while a reader lags', async () => {
  let produced = 0
  const source = Readable.from(
    (function* () {
      for (; produced < 1000; produced++) yield frame(1, 'x'.repeat(64 * 1024))
    })(),
  )
  const stdout = new PassThrough()
  const done = demultiplex(source, stdout, new PassThrough())
  await until('the pipe to fill', async () => (stdout.writableNeedDrain ? true : undefined), {
    timeoutMs: 5000,
  })
  expect(produced).toBeLessThan(50)
  stdout.resume()
  await done
  expect(produced).toBe(1000)
})

test('a reader that went away does not stall the other', async () => {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()]
  stderr.destroy()
  const big = 'x'.repeat(100_000)
  const done = demultiplex(Readable.from([frame(2, big), frame(1, 'out')]), stdout, stderr)
  await done
  stdout.end()
  expect(await text(stdout)).toBe('out')
})
