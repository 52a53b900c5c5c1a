import type { Abortable, Engine } from '../engine/index.ts'
import { type Swept, sweep } from '../reaper/index.ts'
import { readRecord } from './record.ts'

/** Removes what dead processes left, kept clusters that they never finished among it, and what has expired. */
export function sweepClusters(engine: Engine, { signal }: Abortable = {}): Promise<Swept[]> {
  const wasFinished = async (controlPlanes: readonly string[]) =>
    (await readRecord(engine, controlPlanes)) !== undefined
  return sweep(engine, { signal, wasFinished })
}
