/** Runs two things side by side. When one fails, the other is aborted, and the failure is told when both have ended. */
export async function beside<T>(
  first: (limits: { signal: AbortSignal }) => Promise<T>,
  second: (limits: { signal: AbortSignal }) => Promise<void> | undefined,
  { signal }: { signal?: AbortSignal | undefined },
): Promise<T> {
  const stop = new AbortController()
  const limits = { signal: signal ? AbortSignal.any([signal, stop.signal]) : stop.signal }
  let failure: { thrown: unknown } | undefined
  const guarded = async <R>(work: () => Promise<R>): Promise<R | undefined> => {
    try {
      return await work()
    } catch (thrown) {
      failure ??= { thrown }
      stop.abort(thrown)
      return undefined
    }
  }
  const [result] = await Promise.all([guarded(() => first(limits)), guarded(async () => second(limits))])
  if (failure) throw failure.thrown
  return result as T
}
