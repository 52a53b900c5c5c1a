import { Buffer } from 'node:buffer'
import { isIPv4, isIPv6 } from 'node:net'
import { MayflyError } from '../errors.ts'

/** The names and addresses that a certificate is good for. */
export interface SubjectAltNames {
  dnsNames: readonly string[]
  /** Four or sixteen bytes each. */
  addresses: readonly Buffer[]
}

// RFC 1123 subdomain, or a wildcard over one: what kubeadm lets into a certificate.
const dnsName = /^(?:\*\.)?[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*$/

/**
 * Sorts texts into DNS names and IP addresses and drops repetitions. Throws a MayflyError `CONFIG_INVALID` for a
 * text that is neither: kubeadm only warns, and the first connection through that name fails much later.
 */
export function subjectAltNames(texts: readonly string[]): SubjectAltNames {
  const dnsNames = new Set<string>()
  const addresses = new Map<string, Buffer>()
  for (const text of texts) {
    const address = addressBytes(text)
    if (address) addresses.set(address.toString('hex'), address)
    else if (dnsName.test(text)) dnsNames.add(text)
    else {
      throw new MayflyError(
        'CONFIG_INVALID',
        `A certificate cannot be made out to ${JSON.stringify(text)}.`,
        {
          hint: 'Use an IP address without a zone, or a DNS name in lower case, with or without a leading "*.".',
        },
      )
    }
  }
  return { dnsNames: [...dnsNames], addresses: [...addresses.values()] }
}

function addressBytes(text: string): Buffer | undefined {
  if (isIPv4(text)) return Buffer.from(text.split('.').map(Number))
  if (!isIPv6(text) || text.includes('%')) return undefined
  // The URL parser brings every spelling, also an embedded IPv4 address, to groups of hex digits.
  const canonical = new URL(`http://[${text}]`).hostname.slice(1, -1)
  const [head = [], tail = []] = canonical.split('::').map((half) => half.split(':').filter(Boolean))
  const zeros = Array<string>(8 - head.length - tail.length).fill('0')
  return Buffer.from([...head, ...zeros, ...tail].map((group) => group.padStart(4, '0')).join(''), 'hex')
}
