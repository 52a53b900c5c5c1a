/**
 * A cluster's identity: keys, certificates and kubeconfigs, made anew for every cluster in a few milliseconds and
 * without anything running inside a node. No key is ever part of an image or a snapshot.
 */
export {
  type Authority,
  type AuthorityFiles,
  type CertifiedKey,
  type ClientIdentity,
  type ClusterAuthorities,
  createAuthorities,
  issueClientCertificate,
  type KeyPair,
  readAuthorities,
} from './authorities.ts'
export { adminKubeconfig, type KubeconfigParts, kubeconfig } from './kubeconfig.ts'
export {
  type ClusterAddress,
  type ControlPlaneCluster,
  type ControlPlaneNode,
  controlPlaneFiles,
  type PkiFile,
  workerFiles,
} from './node-files.ts'
