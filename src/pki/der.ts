/**
 * DER (ITU-T X.690), as much of it as an X.509 certificate needs. Every function returns one complete value:
 * tag, length, content.
 */
import { Buffer } from 'node:buffer'

/** A value with a tag given as its identifier byte, and with its content already encoded. */
export function tagged(tag: number, ...content: Uint8Array[]): Buffer {
  const body = Buffer.concat(content)
  return Buffer.concat([Buffer.from([tag, ...lengthOf(body.length)]), body])
}

/** SEQUENCE (OF). */
export function sequence(...content: Uint8Array[]): Buffer {
  return tagged(0x30, ...content)
}

/** SET (OF) with one member; more would have to be sorted. */
export function setOfOne(member: Uint8Array): Buffer {
  return tagged(0x31, member)
}

/** INTEGER, from big-endian bytes in the shortest two's complement form. */
export function integer(...bytes: number[]): Buffer {
  return tagged(0x02, Buffer.from(bytes))
}

/** BOOLEAN TRUE; FALSE is a default wherever certificates have one, and DER leaves defaults out. */
export const TRUE: Buffer = tagged(0x01, Buffer.of(0xff))

/** BIT STRING; `unusedBits` counts the bits at the end that mean nothing (default 0). */
export function bitString(bytes: Uint8Array, unusedBits = 0): Buffer {
  return tagged(0x03, Buffer.of(unusedBits), bytes)
}

/** OCTET STRING. */
export function octetString(bytes: Uint8Array): Buffer {
  return tagged(0x04, bytes)
}

/** UTF8String. */
export function utf8String(text: string): Buffer {
  return tagged(0x0c, Buffer.from(text, 'utf8'))
}

/** OBJECT IDENTIFIER, from its dotted form. */
export function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number)
  return tagged(0x06, Buffer.from([first * 40 + second, ...rest].flatMap(base128)))
}

/** A point in time to the second: UTCTime until 2049 and GeneralizedTime after, as RFC 5280 §4.1.2.5 demands. */
export function time(date: Date): Buffer {
  const digits = `${date.toISOString().replaceAll(/[-:T]/g, '').slice(0, 14)}Z`
  return date.getUTCFullYear() < 2050
    ? tagged(0x17, Buffer.from(digits.slice(2), 'ascii'))
    : tagged(0x18, Buffer.from(digits, 'ascii'))
}

function lengthOf(length: number): number[] {
  if (length < 0x80) return [length]
  const bytes: number[] = []
  for (let rest = length; rest > 0; rest >>>= 8) bytes.unshift(rest & 0xff)
  return [0x80 | bytes.length, ...bytes]
}

function base128(arc: number): number[] {
  const bytes = [arc & 0x7f]
  for (let rest = arc >>> 7; rest > 0; rest >>>= 7) bytes.unshift(0x80 | (rest & 0x7f))
  return bytes
}
