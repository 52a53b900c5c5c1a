import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto'
import { generateKeys, type Issuer, issue, type P256Keys, type Purpose, selfSigned } from './certificate.ts'
import type { SubjectAltNames } from './subject-alt-names.ts'

/** A key pair, in memory and as PEM texts. */
export interface KeyPair {
  /** SEC 1, `EC PRIVATE KEY`: the form kubeadm writes, and the only one that every reader in Kubernetes takes. */
  privateKey: string
  /** SubjectPublicKeyInfo, `PUBLIC KEY`. */
  publicKey: string
  /** The same pair, ready to use. */
  keys: P256Keys
}

/** A certificate and its private key, both in PEM. */
export interface CertifiedKey {
  certificate: string
  privateKey: string
}

/** A certificate authority that can sign. */
export interface Authority extends CertifiedKey, Issuer {}

/** All that makes a cluster's identity: whoever has these can be anyone in it. */
export interface ClusterAuthorities {
  /** Signs the API server, the kubelets and every client of Kubernetes. */
  ca: Authority
  /** Signs etcd's members and clients. */
  etcdCa: Authority
  /** Signs the API server's client certificate towards extension API servers. */
  frontProxyCa: Authority
  /** Signs the tokens of service accounts. */
  serviceAccount: KeyPair
}

/** Makes a new identity for a cluster. Nothing is shared with any other cluster, and nothing is written anywhere. */
export async function createAuthorities(): Promise<ClusterAuthorities> {
  return {
    ca: createAuthority('kubernetes'),
    etcdCa: createAuthority('etcd-ca'),
    frontProxyCa: createAuthority('front-proxy-ca'),
    serviceAccount: createKeyPair(),
  }
}

/** The files of a cluster's identity, as `controlPlaneFiles` writes them. */
export interface AuthorityFiles {
  ca: CertifiedKey
  etcdCa: CertifiedKey
  frontProxyCa: CertifiedKey
  /** Private key in PEM. */
  serviceAccountKey: string
}

/** The identity of a cluster that was made earlier, from the files that its control plane has. */
export function readAuthorities({
  ca,
  etcdCa,
  frontProxyCa,
  serviceAccountKey,
}: AuthorityFiles): ClusterAuthorities {
  const keys = readKeys(serviceAccountKey)
  const publicKey = keys.publicKey.export({ type: 'spki', format: 'pem' }) as string
  return {
    ca: readAuthority(ca, 'kubernetes'),
    etcdCa: readAuthority(etcdCa, 'etcd-ca'),
    frontProxyCa: readAuthority(frontProxyCa, 'front-proxy-ca'),
    serviceAccount: { privateKey: serviceAccountKey, publicKey, keys },
  }
}

function readAuthority(files: CertifiedKey, commonName: string): Authority {
  return { ...files, subject: { commonName }, keys: readKeys(files.privateKey) }
}

function readKeys(privateKeyText: string): P256Keys {
  const privateKey = createPrivateKey(privateKeyText)
  return { privateKey, publicKey: createPublicKey(privateKey) }
}

/**
 * Issues a client certificate, with a new key. When {@link ClusterAuthorities.ca} signs it, Kubernetes sees the
 * user `commonName` in the groups `organizations`, until `ttlMs` from now (default: one year).
 */
export async function issueClientCertificate(
  authority: Authority,
  { commonName, organizations = [], ttlMs }: ClientIdentity,
): Promise<CertifiedKey> {
  return issueCertificate(authority, {
    subject: { commonName, organizations },
    purposes: ['clientAuth'],
    ...(ttlMs === undefined ? {} : { ttlMs }),
  })
}

/** Who a client certificate says the client is. */
export interface ClientIdentity {
  /** The user name. */
  commonName: string
  /** The groups; none by default. */
  organizations?: readonly string[]
  /** How long the certificate is valid, in ms from now; default one year. */
  ttlMs?: number
}

/** Issues any certificate that is no authority's, with a new key. */
export function issueCertificate(
  authority: Authority,
  contents: {
    subject: { commonName: string; organizations?: readonly string[] }
    purposes: readonly Purpose[]
    names?: SubjectAltNames
    ttlMs?: number
  },
): CertifiedKey {
  const keys = generateKeys()
  return {
    certificate: issue(authority, keys.publicKey, contents),
    privateKey: privateKeyPem(keys.privateKey),
  }
}

function createAuthority(commonName: string): Authority {
  const keys = generateKeys()
  return {
    certificate: selfSigned(commonName, keys),
    privateKey: privateKeyPem(keys.privateKey),
    subject: { commonName },
    keys,
  }
}

function createKeyPair(): KeyPair {
  const keys = generateKeys()
  return {
    privateKey: privateKeyPem(keys.privateKey),
    publicKey: keys.publicKey.export({ type: 'spki', format: 'pem' }) as string,
    keys,
  }
}

// Not PKCS #8: client-go's keyutil.ParsePublicKeysPEM reads the public half of an EC private key from SEC 1 only.
function privateKeyPem(key: KeyObject): string {
  return key.export({ type: 'sec1', format: 'pem' }) as string
}
