/** The engine room: find the container engine, and talk to it. */
export { engineStatus } from './asking.ts'
export { connectEngine, connectTo } from './connect.ts'
export {
  type ContainerMount,
  type ContainerSpec,
  kernelModules,
  type OptionsVolume,
  type PlainMount,
  type PortMapping,
} from './container-spec.ts'
export { findContainerdRoot } from './containerd-root.ts'
export * from './containers.ts'
export type { Engine } from './engine.ts'
export { type ExecOptions, type ExecResult, exec, execOrThrow, execStream, type RunningExec } from './exec.ts'
export { type ContainerFile, putFiles, readFile } from './files.ts'
export { type HostFacts, memoryAvailable } from './host-facts.ts'
export * from './images.ts'
export { containerLogs, followLogs, type LogOptions } from './logs.ts'
export * from './networks.ts'
export type { EnginePlace, EngineTls } from './places.ts'
export {
  assertHostFit,
  type Finding,
  judgeHost,
  memoryNeeded,
  type PreflightPlan,
  preflight,
} from './preflight.ts'
export * from './privilege.ts'
export * from './privilege-probe.ts'
export * from './volumes.ts'
