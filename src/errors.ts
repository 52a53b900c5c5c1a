/**
 * What went wrong, as a stable word to branch on. The part before the underscore is the room it came from.
 *
 * @public
 */
export type MayflyErrorCode =
  | 'CONFIG_INVALID'
  | 'CONFIG_UNREADABLE'
  | 'ENGINE_NOT_FOUND'
  | 'ENGINE_REFUSED'
  | 'ENGINE_LOST'
  | 'HOST_UNFIT'
  | 'NODE_IMAGE_MISSING'
  | 'NODE_IMAGE_UNFIT'
  | 'NODE_IMAGE_BUILD_FAILED'
  | 'CLUSTER_EXISTS'
  | 'CLUSTER_NOT_FOUND'
  | 'CLUSTER_UNFIT'
  | 'CONTROL_PLANE_ONLY'
  | 'NODE_EXITED'
  | 'EXEC_FAILED'
  | 'WAIT_TIMED_OUT'
  | 'WAIT_ABORTED'
  | 'IMAGE_NOT_FOUND'
  | 'IMAGE_UNREADABLE'
  | 'IMAGE_WRONG_PLATFORM'
  | 'IMAGE_BUILD_FAILED'
  | 'IMAGE_LOAD_FAILED'
  | 'MANIFEST_INVALID'
  | 'APPLY_FAILED'
  | 'KUBE_REQUEST_FAILED'
  | 'KUBE_OBJECT_FAILED'
  | 'SNAPSHOT_UNFIT'
  | 'SNAPSHOT_NOT_FOUND'
  | 'ROLLBACK_FAILED'

/** The parts of a {@link MayflyError}; see its properties. */
export interface MayflyErrorParts {
  /** What to do about it: one sentence in the imperative. */
  hint?: string
  /** What the failing command or component printed, verbatim. */
  output?: string
  /** The error that led to this one. */
  cause?: unknown
}

const brand = Symbol.for('mayfly.error')

/**
 * The one error class of mayfly. Its message is a sentence that names what failed, on which node or object,
 * and what was seen; {@link MayflyError.hint} says what to do, {@link MayflyError.output} has what was printed.
 *
 * @public
 */
export class MayflyError extends Error {
  override readonly name = 'MayflyError'
  /** Stable word to branch on. */
  readonly code: MayflyErrorCode
  /** What to do about it, where that is known. */
  declare readonly hint: string | undefined
  /** What the failing command or component printed, verbatim. */
  declare readonly output: string | undefined

  constructor(code: MayflyErrorCode, summary: string, { hint, output, cause }: MayflyErrorParts = {}) {
    super(
      [summary, hint && `→ ${hint}`, output?.trim() && indent(output.trim())].filter(Boolean).join('\n'),
      cause === undefined ? {} : { cause },
    )
    this.code = code
    // Both are in the message: printed as properties they would be there twice.
    Object.defineProperties(this, {
      hint: { value: hint },
      output: { value: output },
      [brand]: { value: true },
    })
  }
}

/**
 * Whether a value is a {@link MayflyError}, also one that another copy of this package made (a test runner
 * loads the package in its main process and in its workers).
 *
 * @public
 */
export function isMayflyError(value: unknown): value is MayflyError {
  return value instanceof Error && brand in value
}

/**
 * An error with another hint or output, to be thrown in its place: it comes from where the other came from, and has the
 * other's cause, so that nothing is told twice.
 *
 * @param more What is not given stays as it is
 */
export function amended(error: MayflyError, more: Pick<MayflyErrorParts, 'hint' | 'output'>): MayflyError {
  const [summary = error.message] = error.message.split(startOfDetails, 1)
  const { hint = error.hint, output = error.output } = more
  const result = new MayflyError(error.code, summary, {
    ...(hint !== undefined && { hint }),
    ...(output !== undefined && { output }),
    cause: error.cause,
  })
  const title = `${error.name}: `
  if (error.stack?.startsWith(title + error.message))
    result.stack = title + result.message + error.stack.slice(title.length + error.message.length)
  return result
}

/** What follows the summary in a message. */
const startOfDetails = /\n(?:→| {4})/

/** The message of anything thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown)
}

function indent(text: string): string {
  return text.replaceAll(/^/gm, '    ')
}
