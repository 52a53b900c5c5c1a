import type { SessionPlan } from './options.ts'
import { Session } from './session.ts'

interface Entry {
  session: Promise<Session>
  users: number
}

const place = Symbol.for('mayfly.sessions')

/** One for the whole process, also when a test runner loads this module more than once. */
function sessions(): Map<string, Entry> {
  const global = globalThis as { [place]?: Map<string, Entry> }
  global[place] ??= new Map()
  return global[place]
}

/**
 * The session of a plan; opened by whoever asks first, and shared by all who ask for the same. Give it back, also when it fails
 * to make what a project needs.
 *
 * @throws MayflyError what {@link Session.open} throws, to everyone who asks
 */
export async function acquireSession(plan: SessionPlan): Promise<Session> {
  const entry = sessions().get(plan.key) ?? { session: Session.open(plan), users: 0 }
  sessions().set(plan.key, entry)
  entry.users++
  try {
    return await entry.session
  } catch (thrown) {
    sessions().delete(plan.key)
    throw thrown
  }
}

/** The session of a plan when it is open already. */
export function openedSession(key: string): Promise<Session> | undefined {
  return sessions().get(key)?.session
}

/** Gives a session back; the last who does so ends it, and waits for its end. */
export async function releaseSession({ key }: SessionPlan): Promise<void> {
  const entry = sessions().get(key)
  if (!entry || --entry.users > 0) return
  sessions().delete(key)
  await (await entry.session).close()
}
