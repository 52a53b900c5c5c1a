/**
 * X.509 v3 certificates (RFC 5280) over ECDSA P-256, with the fields and extensions that kubeadm gives its own
 * (`NewSelfSignedCACert` and `NewSignedCert` in kubeadm's `pkiutil`).
 *
 * Encoded here and not by a library: it is one fixed shape, and the libraries for it need a polyfill of the global
 * `Reflect` and 0.2 s to load in each process that makes a cluster; this takes milliseconds.
 */
import { Buffer } from 'node:buffer'
import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'
import {
  bitString,
  integer,
  octetString,
  oid,
  sequence,
  setOfOne,
  TRUE,
  tagged,
  time,
  utf8String,
} from './der.ts'
import type { SubjectAltNames } from './subject-alt-names.ts'

/** Whom a certificate names. */
export interface Subject {
  /** CN: to Kubernetes the name of the user. */
  commonName: string
  /** One O each: to Kubernetes the user's groups. */
  organizations?: readonly string[]
}

/** Who signs: enough of a certificate authority to issue in its name. */
export interface Issuer {
  subject: Subject
  keys: P256Keys
}

/** A key pair on the curve P-256. */
export interface P256Keys {
  privateKey: KeyObject
  publicKey: KeyObject
}

/** What the holder of a certificate may do with it; kubeadm calls these ExtKeyUsages. */
export type Purpose = 'serverAuth' | 'clientAuth'

const HOUR_MS = 60 * 60 * 1000
const YEAR_MS = 365 * 24 * HOUR_MS

/** How long a certificate authority is valid: 10 years in ms, as kubeadm's. */
const AUTHORITY_TTL_MS = 10 * YEAR_MS
/** How long any other certificate is valid: 1 year in ms, as kubeadm's. */
const LEAF_TTL_MS = YEAR_MS

const ecdsaWithSha256 = sequence(oid('1.2.840.10045.4.3.2'))
const purposes: Record<Purpose, Buffer> = {
  serverAuth: oid('1.3.6.1.5.5.7.3.1'),
  clientAuth: oid('1.3.6.1.5.5.7.3.2'),
}

/** A new key pair. */
export function generateKeys(): P256Keys {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' })
}

/** A self-signed certificate for an authority, in PEM. Its common name is also its DNS name, as kubeadm has it. */
export function selfSigned(commonName: string, keys: P256Keys): string {
  const self = { subject: { commonName }, keys }
  return signed(self, self.subject, keys.publicKey, AUTHORITY_TTL_MS, [
    keyUsage(0b1010_0100),
    extension('2.5.29.19', sequence(TRUE), 'critical'),
    extension('2.5.29.14', octetString(keyIdentifier(keys.publicKey))),
    alternativeNames({ dnsNames: [commonName], addresses: [] }),
  ])
}

/** A certificate that an authority signs, in PEM; `ttlMs` counts from now. */
export function issue(
  issuer: Issuer,
  publicKey: KeyObject,
  {
    subject,
    purposes: allowed,
    names,
    ttlMs = LEAF_TTL_MS,
  }: { subject: Subject; purposes: readonly Purpose[]; names?: SubjectAltNames; ttlMs?: number },
): string {
  return signed(issuer, subject, publicKey, ttlMs, [
    keyUsage(0b1010_0000),
    extension('2.5.29.37', sequence(...allowed.map((purpose) => purposes[purpose]))),
    extension('2.5.29.19', sequence(), 'critical'),
    extension('2.5.29.35', sequence(tagged(0x80, keyIdentifier(issuer.keys.publicKey)))),
    ...(names ? [alternativeNames(names)] : []),
  ])
}

function signed(
  issuer: Issuer,
  subject: Subject,
  publicKey: KeyObject,
  ttlMs: number,
  extensions: readonly Buffer[],
): string {
  const now = Date.now()
  const toBeSigned = sequence(
    tagged(0xa0, integer(2)),
    serialNumber(),
    ecdsaWithSha256,
    distinguishedName(issuer.subject),
    // An hour back: a container engine in a virtual machine may have a clock behind the host's.
    sequence(time(new Date(now - HOUR_MS)), time(new Date(now + ttlMs))),
    distinguishedName(subject),
    spkiOf(publicKey),
    tagged(0xa3, sequence(...extensions)),
  )
  const signature = sign('sha256', toBeSigned, issuer.keys.privateKey)
  return pem('CERTIFICATE', sequence(toBeSigned, ecdsaWithSha256, bitString(signature)))
}

// RFC 5280 §4.1.2.2: positive, at most 20 octets. The second-highest bit is set and the highest is not, so that
// the number is positive and has no leading zero octet, which DER forbids.
function serialNumber(): Buffer {
  const [first = 0, ...rest] = randomBytes(16)
  return integer((first & 0x3f) | 0x40, ...rest)
}

function distinguishedName({ commonName, organizations = [] }: Subject): Buffer {
  const attribute = (type: string, value: string) => setOfOne(sequence(oid(type), utf8String(value)))
  return sequence(
    ...organizations.map((organization) => attribute('2.5.4.10', organization)),
    attribute('2.5.4.3', commonName),
  )
}

function extension(id: string, value: Buffer, critical?: 'critical'): Buffer {
  return sequence(oid(id), ...(critical ? [TRUE] : []), octetString(value))
}

// Bits from the left: digitalSignature, nonRepudiation, keyEncipherment, dataEncipherment, keyAgreement, keyCertSign.
function keyUsage(bits: number): Buffer {
  const unusedBits = Math.clz32(bits & -bits) ^ 31
  return extension('2.5.29.15', bitString(Buffer.of(bits), unusedBits), 'critical')
}

function alternativeNames({ dnsNames, addresses }: SubjectAltNames): Buffer {
  return extension(
    '2.5.29.17',
    sequence(
      ...dnsNames.map((name) => tagged(0x82, Buffer.from(name, 'ascii'))),
      ...addresses.map((address) => tagged(0x87, address)),
    ),
  )
}

// RFC 7093 §2 method 1, as Go's crypto/x509 does it: 160 bits of the SHA-256 of the public key without its algorithm.
function keyIdentifier(publicKey: KeyObject): Buffer {
  const uncompressedPoint = spkiOf(publicKey).subarray(-65)
  return createHash('sha256').update(uncompressedPoint).digest().subarray(0, 20)
}

function spkiOf(publicKey: KeyObject): Buffer {
  return publicKey.export({ type: 'spki', format: 'der' })
}

function pem(label: string, der: Buffer): string {
  const lines = der.toString('base64').replaceAll(/.{64}(?=.)/g, '$&\n')
  return `-----BEGIN ${label}-----\n${lines}\n-----END ${label}-----\n`
}
