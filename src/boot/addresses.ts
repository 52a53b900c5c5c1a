import { isIPv6 } from 'node:net'

/** The first `count` usable addresses of a subnet, from its second on. */
export function firstAddresses(cidr: string, count: number): string[] {
  const { base, version } = parseCidr(cidr)
  return Array.from({ length: count }, (_, at) => formatAddress(base + BigInt(at + 1), version))
}

/** The n-th subnet of `bits` prefix length within a subnet, or `undefined` past the last. */
export function subnetsOf(cidr: string, bits: number): (at: number) => string | undefined {
  const { base, version, prefix } = parseCidr(cidr)
  const width = version === 6 ? 128 : 32
  return (at) => {
    if (bits < prefix || BigInt(at) >= 1n << BigInt(bits - prefix)) return undefined
    return `${formatAddress(base + (BigInt(at) << BigInt(width - bits)), version)}/${bits}`
  }
}

interface ParsedCidr {
  base: bigint
  version: 4 | 6
  prefix: number
}

function parseCidr(cidr: string): ParsedCidr {
  const [address = '', prefix = ''] = cidr.split('/')
  const version = isIPv6(address) ? 6 : 4
  const value = version === 6 ? parseIpv6(address) : parseIpv4(address)
  const width = version === 6 ? 128 : 32
  const hostBits = BigInt(width - Number(prefix))
  return { base: (value >> hostBits) << hostBits, version, prefix: Number(prefix) }
}

function parseIpv4(address: string): bigint {
  return address.split('.').reduce((sum, part) => (sum << 8n) | BigInt(part), 0n)
}

function parseIpv6(address: string): bigint {
  const [head = '', tail] = address.split('::')
  const groups = (text: string) => (text === '' ? [] : text.split(':'))
  const before = groups(head)
  const after = tail === undefined ? [] : groups(tail)
  const zeros = Array.from({ length: 8 - before.length - after.length }, () => '0')
  return [...before, ...(tail === undefined ? [] : zeros), ...after].reduce(
    (sum, group) => (sum << 16n) | BigInt(`0x${group}`),
    0n,
  )
}

function formatAddress(value: bigint, version: 4 | 6): string {
  if (version === 4) return [24n, 16n, 8n, 0n].map((shift) => (value >> shift) & 255n).join('.')
  const groups = Array.from({ length: 8 }, (_, at) =>
    ((value >> BigInt(16 * (7 - at))) & 0xffffn).toString(16),
  )
  // The longest run of zeros is written as `::`, by RFC 5952.
  const runs = [...groups.join(':').matchAll(/\b0(?::0)+\b/g)].sort((a, b) => b[0].length - a[0].length)
  const longest = runs[0]
  if (!longest) return groups.join(':')
  const text = groups.join(':')
  const before = text.slice(0, longest.index).replace(/:$/, '')
  const after = text.slice(longest.index + longest[0].length).replace(/^:/, '')
  return `${before}::${after}`
}
