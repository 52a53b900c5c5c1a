import { randomUUID } from 'node:crypto'
import {
  type ContainerSpec,
  containerLogs,
  createContainer,
  type Engine,
  exec,
  execOrThrow,
  kernelModules,
  probePrivilege,
  startContainer,
} from '../../src/engine/index.ts'
import { kubernetesVersions } from '../../src/node-image/index.ts'
import { until } from '../../src/wait.ts'

export const nodeImage = process.env['MAYFLY_NODE_IMAGE'] || `mayfly/node:${kubernetesVersions[0]}`

/** A name that only this run of the tests uses. */
export const run = `mayfly-test-${randomUUID().slice(0, 8)}`

/** A node as it is made everywhere in mayfly: without --privileged. */
export async function nodeSpec(engine: Engine, name: string): Promise<ContainerSpec> {
  return {
    name,
    hostname: name,
    image: nodeImage,
    labels: { 'io.mayfly.test': run },
    privilege: await probePrivilege(engine, nodeImage),
    privateCgroupNamespace: true,
    tty: true,
    tmpfs: { '/tmp': 'exec', '/run': 'exec' },
    volumes: ['/var'],
    mounts: [kernelModules],
  }
}

export async function startNode(engine: Engine, spec: ContainerSpec): Promise<void> {
  await createContainer(engine, spec)
  await startContainer(engine, spec.name)
  await containerdAnswers(engine, spec.name)
}

export async function containerdAnswers(engine: Engine, node: string): Promise<void> {
  await until(
    `containerd in ${node}`,
    async (_, report) => {
      try {
        const { exitCode, stderr } = await exec(engine, node, ['ctr', 'version'])
        report(stderr)
        return exitCode === 0 || undefined
      } catch {
        report(await containerLogs(engine, node, { tail: 5 }))
        return undefined
      }
    },
    { timeoutMs: 30_000 },
  )
}

/** What a command in the node prints; fails when the command does. */
export async function sh(engine: Engine, node: string, script: string): Promise<string> {
  const stdout = await execOrThrow(engine, node, ['sh', '-ec', script])
  return stdout.trim()
}
