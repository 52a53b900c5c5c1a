import { isIPv4, isIPv6 } from 'node:net'

/** An IP network. */
export interface Cidr {
  family: 4 | 6
  /** Length of the prefix in bits. */
  prefix: number
  /** First address, as a number. */
  network: bigint
  /** Canonical form: host bits cleared, IPv6 as in RFC 5952. */
  text: string
}

/** Reads `10.244.0.0/16` or `fd00::/56`; undefined when it is no CIDR. */
export function parseCidr(text: string): Cidr | undefined {
  const match = /^([^/%]+)\/(0|[1-9]\d{0,2})$/.exec(text.trim())
  const [, address = '', bits = ''] = match ?? []
  const family = isIPv4(address) ? 4 : isIPv6(address) ? 6 : undefined
  const prefix = Number(bits)
  if (!family || prefix > widthOf(family)) return undefined
  const hostBits = BigInt(widthOf(family) - prefix)
  const network = ((family === 4 ? numberOfIPv4(address) : numberOfIPv6(address)) >> hostBits) << hostBits
  return {
    family,
    prefix,
    network,
    text: `${family === 4 ? textOfIPv4(network) : textOfIPv6(network)}/${prefix}`,
  }
}

/** Whether two networks share an address. */
export function overlaps(one: Cidr, other: Cidr): boolean {
  if (one.family !== other.family) return false
  const rest = BigInt(widthOf(one.family) - Math.min(one.prefix, other.prefix))
  return one.network >> rest === other.network >> rest
}

/** An address in one canonical form, so that equal addresses are equal texts. */
export function canonicalAddress(address: string): string {
  return isIPv6(address) ? textOfIPv6(numberOfIPv6(address)) : address
}

function widthOf(family: 4 | 6): number {
  return family === 4 ? 32 : 128
}

function numberOfIPv4(address: string): bigint {
  return address.split('.').reduce((number, octet) => (number << 8n) | BigInt(octet), 0n)
}

function numberOfIPv6(address: string): bigint {
  const tail = /\d+\.\d+\.\d+\.\d+$/.exec(address)?.[0]
  const ipv4 = tail ? numberOfIPv4(tail) : 0n
  const plain = tail
    ? `${address.slice(0, -tail.length)}${(ipv4 >> 16n).toString(16)}:${(ipv4 & 0xffffn).toString(16)}`
    : address
  const [head = '', end] = plain.split('::').map((half) => half.split(':').filter(Boolean))
  const groups = [...head, ...Array(8 - head.length - (end?.length ?? 0)).fill('0'), ...(end ?? [])]
  return groups.reduce((number, group) => (number << 16n) | BigInt(`0x${group}`), 0n)
}

function textOfIPv4(number: bigint): string {
  return [24n, 16n, 8n, 0n].map((shift) => (number >> shift) & 255n).join('.')
}

function textOfIPv6(number: bigint): string {
  const groups = Array.from({ length: 8 }, (_, index) =>
    ((number >> BigInt(112 - 16 * index)) & 0xffffn).toString(16),
  )
  // The URL parser shortens IPv6 addresses as RFC 5952 says.
  return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1)
}
