import { MayflyError, messageOf } from '../errors.ts'

/**
 * What an API server says when it refuses: the parts of its `Status` object that matter
 * (https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/).
 *
 * @public
 */
export interface KubeStatus {
  /** HTTP status code. */
  code: number
  /** One word, such as `NotFound`, `AlreadyExists`, `Invalid`; the HTTP status text where the server gave none. */
  reason: string
  message: string
  /** The object it is about and, for an invalid one, the fields at fault. */
  details?: {
    name?: string
    group?: string
    kind?: string
    retryAfterSeconds?: number
    causes?: { reason?: string; message?: string; field?: string }[]
  }
}

/** Thrown inside as the `cause` of a `KUBE_REQUEST_FAILED`; read it with {@link kubeStatus}. */
class Refusal extends Error {
  readonly status: KubeStatus

  constructor(status: KubeStatus) {
    super(status.message)
    this.status = status
  }
}

/**
 * What the API server said, for an error of this package and for an `ApiException` of `@kubernetes/client-node`;
 * `undefined` for any other error, such as a lost connection.
 *
 * @public
 */
export function kubeStatus(error: unknown): KubeStatus | undefined {
  if (!(error instanceof Error)) return undefined
  if ('status' in error && typeof error.status === 'object') return error.status as KubeStatus
  if ('code' in error && 'body' in error && typeof error.code === 'number') {
    return parseStatus(error.code, typeof error.body === 'string' ? error.body : JSON.stringify(error.body))
  }
  return kubeStatus(error.cause)
}

/** The error for a response that is no success. */
export function refusal(doing: string, code: number, body: string, statusText = ''): MayflyError {
  const status = parseStatus(code, body, statusText)
  return new MayflyError(
    'KUBE_REQUEST_FAILED',
    `Could not ${doing}: ${status.message} (${code} ${status.reason})`,
    {
      cause: new Refusal(status),
    },
  )
}

/** The error for something that the server turned out not to have before it was asked for. */
export function notThere(summary: string, hint: string): MayflyError {
  return new MayflyError('KUBE_REQUEST_FAILED', summary, {
    hint,
    cause: new Refusal({ code: 404, reason: 'NotFound', message: summary }),
  })
}

/** The error for a request that got no response. */
export function noAnswer(doing: string, server: URL, cause: unknown): MayflyError {
  return new MayflyError(
    'KUBE_REQUEST_FAILED',
    `Could not ${doing}: no answer from ${server.origin}: ${messageOf(cause)}`,
    {
      cause,
    },
  )
}

function parseStatus(code: number, body: string, statusText = ''): KubeStatus {
  try {
    const parsed = JSON.parse(body) as Partial<KubeStatus & { kind: string }>
    if (parsed.kind === 'Status') {
      return {
        code,
        reason: parsed.reason || statusText,
        message: parsed.message || body,
        ...(parsed.details && { details: parsed.details }),
      }
    }
  } catch {
    // Not every refusal is a Status object: proxies and handlers in front of the API answer in plain text.
  }
  return { code, reason: statusText, message: body.trim() || 'no reason given' }
}
