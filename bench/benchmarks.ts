import type { Benchmark } from './benchmark.ts'
import { controlPlaneOnly } from './control-plane-only.ts'
import { fromSnapshot } from './from-snapshot.ts'
import { handout } from './handout.ts'
import { threeNodesOfKindest } from './kindest.ts'
import { moreNodes, oneNode, threeControlPlanes, threeNodes } from './lives.ts'
import { loadsOfMoreNodes, loadsOfThreeNodes } from './loads.ts'
import { rollback } from './rollback.ts'
import { rollbackMemory } from './rollback-memory.ts'
import { scaleOut } from './scale-out.ts'
import { vitestRun } from './vitest-run.ts'

/** Every benchmark, in the order in which they run. */
export const benchmarks: readonly Benchmark[] = [
  oneNode,
  threeNodes,
  threeNodesOfKindest,
  threeControlPlanes,
  loadsOfThreeNodes,
  vitestRun,
  rollback,
  handout,
  controlPlaneOnly,
  fromSnapshot,
  rollbackMemory,
  scaleOut,
  moreNodes,
  loadsOfMoreNodes,
]
