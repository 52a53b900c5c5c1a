/** Options, inline objects and kind's v1alpha4 files, turned into one validated {@link ClusterSpec}. */
export { DEFAULT_NODE_IMAGE } from './defaults.ts'
export { isDefaultBootSpec, snapshotFingerprint, specFingerprint } from './fingerprint.ts'
export { ordinaryNodeMaskSizes } from './node-masks.ts'
export type * from './options.ts'
export { type ResolveContext, resolveClusterSpec } from './resolve.ts'
export type * from './spec.ts'
