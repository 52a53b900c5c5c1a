/** Resolves to the control plane inside every node; one name for all clusters, so that a snapshot can name it. */
export const controlPlaneHost = 'control-plane.mayfly.internal'

/** The port that API servers listen on, inside nodes. */
export const apiServerPort = 6443

/** Where an API server is reached, as `address:port`. */
export function apiServerEndpoint([address = '']: readonly string[]): string {
  return `${bracketed(address)}:${apiServerPort}`
}

/**
 * Where this process reaches a port of the engine's host, as it stands before the port.
 *
 * @param listening The address that the port is published on
 */
export function publishedAddress(listening: string, engineHost: string | undefined): string {
  if (listening === '0.0.0.0' || listening === '') return bracketed(engineHost ?? '127.0.0.1')
  return bracketed(listening === '::' ? (engineHost ?? '::1') : listening)
}

/** An address as it stands before a port. */
export function bracketed(address: string): string {
  return address.includes(':') ? `[${address}]` : address
}
