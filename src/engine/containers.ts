import type Docker from 'dockerode'
import { MayflyError } from '../errors.ts'
import { until, type WaitLimits } from '../wait.ts'
import { ask, engineStatus, unlessGone } from './asking.ts'
import { type ContainerMount, type ContainerSpec, createOptions, limits } from './container-spec.ts'
import type { Engine } from './engine.ts'

/** A container, a network or a volume as a list shows it. */
export interface Listed {
  id: string
  name: string
  labels: Record<string, string>
}

/** A container as a list shows it. */
export interface ListedContainer extends Listed {
  /** `created`, `running`, `paused`, `restarting`, `exited`, `dead`, `removing`. */
  state: string
  image: string
}

/** May stop the request. */
export interface Abortable {
  signal?: AbortSignal | undefined
}

/**
 * Makes a container and does not start it.
 *
 * @returns Its id
 * @throws MayflyError `ENGINE_REFUSED`: status 404 when the image is missing, 409 when the name is taken
 */
export async function createContainer(
  engine: Engine,
  spec: ContainerSpec,
  { signal }: Abortable = {},
): Promise<string> {
  try {
    const container = await ask(engine, `create container "${spec.name}"`, signal, (abortSignal) =>
      engine.docker.createContainer({ ...createOptions(engine, spec), abortSignal }),
    )
    return container.id
  } catch (thrown) {
    const mounts = spec.mounts?.filter((mount) => !isMissing(mount, thrown))
    if (!mounts || mounts.length === spec.mounts?.length) throw thrown
    return createContainer(engine, { ...spec, mounts }, { signal })
  }
}

/** Whether an engine refused a container for want of a path that the container can do without. */
function isMissing(mount: ContainerMount, refusal: unknown): boolean {
  if (!('optional' in mount && mount.optional) || !(refusal instanceof MayflyError)) return false
  return refusal.message.includes(`bind source path does not exist: ${mount.source}`)
}

/** Starts a container that was made or stopped; does nothing to one that runs. */
export async function startContainer(
  engine: Engine,
  container: string,
  { signal }: Abortable = {},
): Promise<void> {
  await unchanged(
    ask(engine, `start container "${container}"`, signal, (abortSignal) =>
      engine.docker.getContainer(container).start({ abortSignal }),
    ),
  )
}

/**
 * Asks a container's main process to end and kills it when it doesn't; does nothing to one that is stopped.
 *
 * @param options.graceSeconds How long it may take, default 10
 */
export async function stopContainer(
  engine: Engine,
  container: string,
  { graceSeconds = 10, signal }: Abortable & { graceSeconds?: number } = {},
): Promise<void> {
  await unchanged(
    ask(engine, `stop container "${container}"`, signal, (abortSignal) =>
      engine.docker.getContainer(container).stop({ t: graceSeconds, abortSignal }),
    ),
  )
}

/** Stops and starts a container. `graceSeconds` as for {@link stopContainer}. */
export async function restartContainer(
  engine: Engine,
  container: string,
  { graceSeconds = 10, signal }: Abortable & { graceSeconds?: number } = {},
): Promise<void> {
  await ask(engine, `restart container "${container}"`, signal, (abortSignal) =>
    engine.docker.getContainer(container).restart({ t: graceSeconds, abortSignal }),
  )
}

/** Sends a signal to a container's main process, default `SIGKILL`. */
export async function killContainer(
  engine: Engine,
  container: string,
  { killSignal = 'SIGKILL', signal }: Abortable & { killSignal?: string } = {},
): Promise<void> {
  await ask(engine, `kill container "${container}"`, signal, (abortSignal) =>
    engine.docker.getContainer(container).kill({ signal: killSignal, abortSignal }),
  )
}

/** Freezes all processes of a container. */
export async function pauseContainer(
  engine: Engine,
  container: string,
  { signal }: Abortable = {},
): Promise<void> {
  await ask(engine, `pause container "${container}"`, signal, (abortSignal) =>
    engine.docker.getContainer(container).pause({ abortSignal }),
  )
}

/** Thaws a frozen container. */
export async function unpauseContainer(
  engine: Engine,
  container: string,
  { signal }: Abortable = {},
): Promise<void> {
  await ask(engine, `unpause container "${container}"`, signal, (abortSignal) =>
    engine.docker.getContainer(container).unpause({ abortSignal }),
  )
}

/** Changes the limits of a container, also of a running one. */
export async function updateContainer(
  engine: Engine,
  container: string,
  { cpus, memoryBytes }: { cpus?: number; memoryBytes?: number },
  { signal }: Abortable = {},
): Promise<void> {
  await ask(engine, `update container "${container}"`, signal, (abortSignal) =>
    engine.docker.getContainer(container).update({ ...limits({ cpus, memoryBytes }), abortSignal }),
  )
}

/** A removal that somebody else began takes no longer than this. */
const removalLimitMs = 60_000

/**
 * Removes a container with its anonymous volumes, running or not, and waits until it is gone. Nothing happens when
 * there is none, and a removal that someone else began is waited for.
 *
 * @returns Whether there was one
 */
export async function removeContainer(
  engine: Engine,
  container: string,
  { signal }: Abortable = {},
): Promise<boolean> {
  const handle = engine.docker.getContainer(container)
  const what = `remove container "${container}"`
  const begun = ask(engine, what, signal, (abortSignal) =>
    handle.remove({ force: true, v: true, abortSignal } as object),
  )
  try {
    return await unlessGone(begun)
  } catch (thrown) {
    if (engineStatus(thrown) !== 409) throw thrown
    // Docker can wait for a removal too, but waits for ever when that ends at the wrong moment (seen with 20.10).
    const gone = async (limit: AbortSignal) => {
      const exists = unlessGone(inspectContainer(engine, container, { signal: limit }))
      return (await exists) ? undefined : true
    }
    await until(`the removal of container "${container}"`, gone, { timeoutMs: removalLimitMs, signal })
    return true
  }
}

/** All that the engine knows about a container. Status 404 when there is none. */
export async function inspectContainer(
  engine: Engine,
  container: string,
  { signal }: Abortable = {},
): Promise<Docker.ContainerInspectInfo> {
  return ask(engine, `inspect container "${container}"`, signal, (abortSignal) =>
    engine.docker.getContainer(container).inspect({ abortSignal }),
  )
}

/**
 * Waits until a container's main process has ended.
 *
 * @returns Its exit code
 */
export async function waitForExit(
  engine: Engine,
  container: string,
  { signal }: Partial<WaitLimits> = {},
): Promise<number> {
  const { StatusCode } = (await ask(
    engine,
    `wait for the end of container "${container}"`,
    signal,
    (abortSignal) => engine.docker.getContainer(container).wait({ abortSignal }),
  )) as { StatusCode: number }
  return StatusCode
}

/**
 * Lists containers in any state that have all of these labels.
 *
 * @param labels Label → value, or `true` for any value
 */
export async function listContainers(
  engine: Engine,
  labels: Record<string, string | true>,
  { signal }: Abortable = {},
): Promise<ListedContainer[]> {
  const found = await ask(engine, 'list containers', signal, (abortSignal) =>
    engine.docker.listContainers({ all: true, filters: { label: labelFilter(labels) }, abortSignal }),
  )
  return found.map(({ Id, Names, Labels, State, Image }) => ({
    id: Id,
    name: Names[0]?.replace(/^\//, '') ?? Id,
    labels: Labels ?? {},
    state: State,
    image: Image,
  }))
}

/** The host's port for a container's port, once the container runs; `undefined` when it is not published. */
export function publishedPort(
  inspected: Docker.ContainerInspectInfo,
  containerPort: number,
  protocol: 'tcp' | 'udp' | 'sctp' = 'tcp',
): number | undefined {
  const bindings = inspected.NetworkSettings.Ports?.[`${containerPort}/${protocol}`]
  const port = bindings?.[0]?.HostPort
  return port ? Number(port) : undefined
}

/** The `label` filter of the list calls. */
export function labelFilter(labels: Record<string, string | true>): string[] {
  return Object.entries(labels).map(([label, value]) => (value === true ? label : `${label}=${value}`))
}

/** "Nothing to do" is an answer with status 304, which dockerode takes for an error. */
async function unchanged(request: Promise<unknown>): Promise<void> {
  try {
    await request
  } catch (thrown) {
    if (engineStatus(thrown) !== 304) throw thrown
  }
}
