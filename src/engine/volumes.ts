import { ask, unlessGone } from './asking.ts'
import { type Abortable, type Listed, labelFilter } from './containers.ts'
import type { Engine } from './engine.ts'

/** Makes a named volume; one of that name that is there already stays as it is. */
export async function createVolume(
  engine: Engine,
  { name, labels }: { name: string; labels?: Record<string, string> },
  { signal }: Abortable = {},
): Promise<void> {
  await ask(engine, `create volume "${name}"`, signal, (abortSignal) =>
    engine.docker.createVolume({ Name: name, Labels: labels ?? {}, abortSignal }),
  )
}

/**
 * Removes a named volume. Nothing happens when there is none.
 *
 * @returns Whether there was one
 * @throws MayflyError `ENGINE_REFUSED`, with status 409 while a container uses it
 */
export async function removeVolume(
  engine: Engine,
  name: string,
  { signal }: Abortable = {},
): Promise<boolean> {
  return unlessGone(
    ask(engine, `remove volume "${name}"`, signal, (abortSignal) =>
      engine.docker.getVolume(name).remove({ force: true, abortSignal } as object),
    ),
  )
}

/** Lists volumes that have all of these labels. */
export async function listVolumes(
  engine: Engine,
  labels: Record<string, string | true>,
  { signal }: Abortable = {},
): Promise<Listed[]> {
  const { Volumes } = await ask(engine, 'list volumes', signal, (abortSignal) =>
    engine.docker.listVolumes({ filters: { label: labelFilter(labels) }, abortSignal } as object),
  )
  return (Volumes ?? []).map(({ Name, Labels }) => ({ id: Name, name: Name, labels: Labels ?? {} }))
}
