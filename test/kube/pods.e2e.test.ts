import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { describe, expect, onTestFinished, test } from 'vitest'
import {
  applyAll,
  describeFailure,
  events,
  execInPod,
  followPodLogs,
  get,
  type KubeObject,
  list,
  type PortForwardOptions,
  podLogs,
  portForward,
  remove,
  waitAvailable,
  waitFor,
} from '../../src/kube/index.ts'
import { pause } from '../../src/wait.ts'
import { scripts, testCluster, testNamespace } from './cluster.ts'

const kube = testCluster()
const limits = { timeoutMs: 60_000 }

function pod(name: string, namespace: string, spec: object, annotations = {}): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace, labels: { app: name }, annotations },
    spec,
  }
}

async function runningPod(containers: Record<string, string>, annotations = {}): Promise<KubeObject> {
  const object = pod('shell', await testNamespace(kube), scripts(containers), annotations)
  await applyAll(kube, [object])
  await waitAvailable(kube, [object], limits)
  return object
}

const idle = 'sleep 1000000'
const someMegabytes = Buffer.alloc(20 * 1024 * 1024, '0123456789abcde\n')
const hashOf = (bytes: Buffer) => createHash('md5').update(bytes).digest('hex')

test('a pod counts as ready when it is, and not a period of its probe later', async () => {
  const spec = scripts({ main: `sleep 2; touch /tmp/ready; ${idle}` })
  const [main] = spec.containers
  const readinessProbe = { exec: { command: ['test', '-e', '/tmp/ready'] }, periodSeconds: 300 }
  const slow = pod('slow', await testNamespace(kube), { ...spec, containers: [{ ...main, readinessProbe }] })
  await applyAll(kube, [slow])
  await waitFor(kube, slow, { condition: 'Ready' }, limits)
  const live = await get(kube, slow)
  expect(live?.['spec'].containers[0].readinessProbe.periodSeconds).toBe(300)
})

describe('execInPod', () => {
  test('gives the exit code and both outputs, whatever the code', async () => {
    const shell = await runningPod({ main: idle })
    expect(await execInPod(kube, shell, ['echo', 'a b', '$HOME'])).toEqual({
      exitCode: 0,
      stdout: 'a b $HOME\n',
      stderr: '',
    })
    expect(await execInPod(kube, shell, ['sh', '-c', 'echo out; echo err >&2; exit 7'])).toEqual({
      exitCode: 7,
      stdout: 'out\n',
      stderr: 'err\n',
    })
  })

  test('what goes in comes out, in any amount', async () => {
    const shell = await runningPod({ main: idle })
    expect(await execInPod(kube, shell, ['cat'], { stdin: 'hällo' })).toMatchObject({ stdout: 'hällo' })
    expect(await execInPod(kube, shell, ['wc', '-c'], { stdin: '' })).toMatchObject({ stdout: '0\n' })
    const pieces: Buffer[] = []
    await execInPod(kube, shell, ['cat'], {
      stdin: someMegabytes,
      onOutput: (_, bytes) => pieces.push(bytes),
    })
    const received = Buffer.concat(pieces)
    expect(received.length).toBe(someMegabytes.length)
    expect(hashOf(received)).toBe(hashOf(someMegabytes))
  })

  test('a command may end before its input does', async () => {
    const shell = await runningPod({ main: idle })
    async function* endless() {
      for (; ; await pause(20)) yield 'more\n'
    }
    expect(await execInPod(kube, shell, ['head', '-n', '2'], { stdin: endless() })).toEqual({
      exitCode: 0,
      stdout: 'more\nmore\n',
      stderr: '',
    })
  })

  test('a source that fails is told', async () => {
    const shell = await runningPod({ main: idle })
    async function* failing() {
      yield 'first'
      throw new Error('the source broke')
    }
    await expect(execInPod(kube, shell, ['cat'], { stdin: failing() })).rejects.toThrow('the source broke')
  })

  test('runs in the container that is named, annotated, or first', async () => {
    const shell = await runningPod({ first: `touch /first; ${idle}`, second: `touch /second; ${idle}` })
    expect(await execInPod(kube, shell, ['ls', '/first'])).toMatchObject({ exitCode: 0 })
    expect(await execInPod(kube, shell, ['ls', '/second'], { container: 'second' })).toMatchObject({
      exitCode: 0,
    })
    const annotated = await runningPod(
      { first: idle, second: `touch /second; ${idle}` },
      { 'kubectl.kubernetes.io/default-container': 'second' },
    )
    expect(await execInPod(kube, annotated, ['ls', '/second'])).toMatchObject({ exitCode: 0 })
  })

  test('what cannot be run is an error with the reason', async () => {
    const shell = await runningPod({ main: idle })
    await expect(execInPod(kube, shell, ['no-such-program'])).rejects.toMatchObject({
      code: 'EXEC_FAILED',
      message: expect.stringMatching(/executable file .*not found/),
    })
    await expect(execInPod(kube, shell, ['ls'], { container: 'no-such-container' })).rejects.toMatchObject({
      code: 'KUBE_REQUEST_FAILED',
      message: expect.stringContaining('container no-such-container is not valid for pod shell'),
    })
    await expect(execInPod(kube, 'no-such-pod', ['ls'])).rejects.toThrow('pods "no-such-pod" not found')
  })

  test('an aborted one ends, and a pod that goes away ends it', async () => {
    const shell = await runningPod({ main: idle })
    const ended = new AbortController()
    const reason = new Error('enough')
    const aborted = execInPod(kube, shell, ['sh', '-c', `echo started; ${idle}`], {
      signal: ended.signal,
      onOutput: () => ended.abort(reason),
    })
    await expect(aborted).rejects.toBe(reason)
    const lost = execInPod(kube, shell, ['sh', '-c', `echo started; ${idle}`], {
      onOutput: () => remove(kube, shell, { gracePeriodSeconds: 0 }),
    })
    // Either the container's end is told as the command's own, or the connection is lost.
    await expect(
      lost.then(
        ({ exitCode }) => exitCode,
        ({ code }) => code,
      ),
    ).resolves.toSatisfy((end) => end === 137 || end === 'EXEC_FAILED')
  })
})

async function collect<T>(source: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = []
  for await (const item of source) items.push(item)
  return items
}

describe('logs', () => {
  test('so far, and the last of it', async () => {
    const shell = await runningPod({ main: `seq 1 5; ${idle}` })
    expect(await podLogs(kube, shell)).toBe('1\n2\n3\n4\n5\n')
    expect(await podLogs(kube, shell, { tailLines: 2 })).toBe('4\n5\n')
    expect(await podLogs(kube, shell, { sinceTime: new Date(Date.now() + 60_000) })).toBe('')
    expect(await podLogs(kube, shell, { timestamps: true, tailLines: 1 })).toMatch(
      /^\d{4}-\d\d-\d\dT\S+Z 5\n$/,
    )
  })

  test('followed until the container ends', async () => {
    const counting = pod('counting', await testNamespace(kube), {
      ...scripts({ main: 'for i in 1 2 3; do echo line $i; sleep 0.2; done' }),
      restartPolicy: 'Never',
    })
    await applyAll(kube, [counting])
    await waitFor(
      kube,
      counting,
      ({ status }) => status.containerStatuses?.[0].started || status.phase === 'Succeeded',
      limits,
    )
    expect(await collect(followPodLogs(kube, counting))).toEqual(['line 1', 'line 2', 'line 3'])
  })

  test('followed until the signal fires', async () => {
    const shell = await runningPod({ main: `while true; do echo tick; sleep 0.1; done` })
    const ended = new AbortController()
    let count = 0
    for await (const line of followPodLogs(kube, shell, { signal: ended.signal })) {
      expect(line).toBe('tick')
      if (++count === 3) ended.abort()
    }
    expect(count).toBeGreaterThanOrEqual(3)
  })

  test('of the run before', async () => {
    const restarting = pod(
      'restarting',
      await testNamespace(kube),
      scripts({ main: 'echo run at $(date +%s%N); test -e /no && exit 0; exit 1' }),
    )
    await applyAll(kube, [restarting])
    await waitFor(kube, restarting, ({ status }) => status.containerStatuses?.[0].restartCount > 0, limits)
    expect(await podLogs(kube, restarting, { previous: true })).toMatch(/^run at /)
  })

  test('of a container that there is not', async () => {
    const shell = await runningPod({ main: idle })
    await expect(podLogs(kube, shell, { container: 'other' })).rejects.toThrow(
      'container other is not valid for pod shell',
    )
  })
})

describe('portForward', () => {
  /** A web server in a Deployment, with a Service before it. */
  async function webServer() {
    const namespace = await testNamespace(kube)
    const serve =
      'mkdir /www; hostname > /www/index.html; yes 0123456789abcde | head -c 20971520 > /www/big; exec httpd -f -p 8080 -h /www'
    const deployment = {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'web', namespace },
      spec: {
        selector: { matchLabels: { app: 'web' } },
        template: {
          metadata: { labels: { app: 'web' } },
          spec: scripts(
            { web: serve },
            {
              ports: [{ name: 'http', containerPort: 8080 }],
              readinessProbe: { httpGet: { path: '/', port: 'http' }, periodSeconds: 1 },
            },
          ),
        },
      },
    }
    const service = {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'web', namespace },
      spec: { selector: { app: 'web' }, ports: [{ name: 'web', port: 80, targetPort: 'http' }] },
    }
    await applyAll(kube, [deployment, service])
    await waitAvailable(kube, [deployment, service], limits)
    return { namespace, deployment, service }
  }

  test('leads to the pods of a Service, a Deployment or a pod, by number or name of the port', async () => {
    const { namespace } = await webServer()
    const pods = await list(kube, 'pods', { namespace })
    for (const [target, port] of [
      ['service/web', 80],
      ['service/web', 'web'],
      ['deployment/web', 8080],
      ['deployment/web', 'http'],
      [`pod/${pods[0]?.metadata.name}`, 'http'],
    ] as const) {
      await using forward = await portForward(kube, target, port, { namespace })
      const answer = await fetch(`http://127.0.0.1:${forward.localPort}/`)
      expect(await answer.text()).toMatch(/^web-/)
    }
  })

  test('carries many connections at once, and much', async () => {
    const { namespace } = await webServer()
    await using forward = await portForward(kube, 'svc/web', 80, { namespace })
    const answers = await Promise.all(
      Array.from({ length: 20 }, async () =>
        (await fetch(`http://127.0.0.1:${forward.localPort}/`, { headers: { connection: 'close' } })).text(),
      ),
    )
    expect(new Set(answers).size).toBe(1)
    const big = Buffer.from(await (await fetch(`http://127.0.0.1:${forward.localPort}/big`)).arrayBuffer())
    expect(hashOf(big)).toBe(hashOf(someMegabytes))
  })

  test('finds the pod that took the place of another', async () => {
    const { namespace, deployment } = await webServer()
    await using forward = await portForward(kube, 'deployment/web', 'http', { namespace })
    const ask = async () =>
      (await fetch(`http://127.0.0.1:${forward.localPort}/`, { headers: { connection: 'close' } })).text()
    const before = (await ask()).trim()
    await remove(kube, { kind: 'Pod', name: before, namespace }, { gracePeriodSeconds: 0 })
    await waitFor(kube, { kind: 'Pod', name: before, namespace }, 'deleted', limits)
    await waitAvailable(kube, [deployment], limits)
    const after = (await ask()).trim()
    expect(after).toMatch(/^web-/)
    expect(after).not.toBe(before)
  })

  test('a client may end its side and still get an answer; what it sends arrives whole', async () => {
    const counter = await runningPod({
      main: 'while true; do nc -l -p 7000 -e sh -c "head -c 20971520 | md5sum"; done',
    })
    await using forward = await portForward(kube, counter, 7000)
    const socket = connect({ port: forward.localPort, host: '127.0.0.1', allowHalfOpen: true })
    socket.end(someMegabytes)
    expect(await text(socket)).toContain(hashOf(someMegabytes))
  })

  test('a port that nobody listens on closes the connection, and tells why', async () => {
    const shell = await runningPod({ main: idle })
    const trouble = Promise.withResolvers<unknown>()
    const options: PortForwardOptions = { onTrouble: trouble.resolve }
    await using forward = await portForward(kube, shell, 9, options)
    const socket = connect(forward.localPort, '127.0.0.1')
    socket.write('anyone?')
    await once(socket, 'close').catch(() => undefined)
    expect(await trouble.promise).toMatchObject({
      code: 'KUBE_REQUEST_FAILED',
      message: expect.stringContaining('refused'),
    })
  })

  test('ends with its scope: nothing listens any more, open connections are closed', async () => {
    const shell = await runningPod({ main: 'while true; do nc -l -p 7000 -e cat; done' })
    const forward = await portForward(kube, shell, 7000)
    const socket = connect(forward.localPort, '127.0.0.1')
    socket.write('ping')
    expect(String((await once(socket, 'data'))[0])).toBe('ping')
    const closed = once(socket, 'close').catch(() => undefined)
    await forward.close()
    await closed
    const [refused] = await once(connect(forward.localPort, '127.0.0.1'), 'error').catch((error) => [error])
    expect(refused).toMatchObject({ code: 'ECONNREFUSED' })
  })

  test('what cannot be forwarded to is told at once', async () => {
    const { namespace } = await webServer()
    await expect(portForward(kube, 'svc/web', 81, { namespace })).rejects.toThrow(
      /Service .*\/web has no port 81; its ports: 80 web/,
    )
    await expect(portForward(kube, 'deploy/web', 'grpc', { namespace })).rejects.toThrow(
      /has no port grpc; its ports: 8080 http/,
    )
    await expect(portForward(kube, 'cm/kube-root-ca.crt', 80, { namespace })).rejects.toThrow(
      'has no pods to forward a port to',
    )
    await expect(portForward(kube, 'svc/other', 80, { namespace })).rejects.toThrow(
      'services "other" not found',
    )
  })

  test('a pod that does not get ready', async () => {
    const namespace = await testNamespace(kube)
    const never = pod(
      'never',
      namespace,
      scripts({ main: idle }, { readinessProbe: { exec: { command: ['false'] } } }),
    )
    await applyAll(kube, [never])
    await expect(portForward(kube, never, 80, { timeoutMs: 500 })).rejects.toMatchObject({
      code: 'WAIT_TIMED_OUT',
      message: expect.stringContaining('to have a ready pod; last seen: 1 found, none ready'),
    })
  })
})

describe('waitAvailable', () => {
  test('a crashing container is explained by its state, its log and its events', async () => {
    const namespace = await testNamespace(kube)
    const deployment = {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'web', namespace },
      spec: {
        selector: { matchLabels: { app: 'web' } },
        template: {
          metadata: { labels: { app: 'web' } },
          spec: scripts(
            {
              main: 'echo reading /config; echo "no such file" >&2; exit 3',
              sidecar: `touch /ready; ${idle}`,
            },
            { readinessProbe: { exec: { command: ['test', '-e', '/ready'] }, periodSeconds: 1 } },
          ),
        },
      },
    }
    await applyAll(kube, [deployment])
    const message = await waitAvailable(kube, [deployment], { timeoutMs: 6000 }).catch(
      (error: Error) => error.message,
    )
    expect(message).toContain(`- Deployment ${namespace}/web: 0 of 1 replicas are available`)
    expect(message).toMatch(/Pod \S+\/web-\S+: Running on \S+/)
    expect(message).toMatch(/container main \(.*\): .*exit code 3/)
    expect(message).toContain('| reading /config')
    expect(message).toContain('| no such file')
    expect(message).toMatch(/container sidecar \(.*\): running$/m)
  })

  test('an image that is not on the node is explained', async () => {
    const namespace = await testNamespace(kube)
    const missing = pod('missing', namespace, {
      containers: [{ name: 'main', image: 'mayfly.test/no/such:image', imagePullPolicy: 'Never' }],
    })
    await applyAll(kube, [missing])
    await expect(waitAvailable(kube, [missing], { timeoutMs: 4000 })).rejects.toThrow('ErrImageNeverPull')
  })

  test('a pod that fits on no node is explained', async () => {
    const huge = pod(
      'huge',
      await testNamespace(kube),
      scripts({ main: idle }, { resources: { requests: { cpu: '1000' } } }),
    )
    await applyAll(kube, [huge])
    await expect(waitAvailable(kube, [huge], { timeoutMs: 2000 })).rejects.toThrow('Insufficient cpu')
  })

  test('a pod whose claim cannot be bound is explained by the events of the claim', async () => {
    const namespace = await testNamespace(kube)
    const storageClass = {
      apiVersion: 'storage.k8s.io/v1',
      kind: 'StorageClass',
      metadata: { name: namespace },
      provisioner: 'kubernetes.io/no-such-plugin',
      volumeBindingMode: 'Immediate',
    }
    onTestFinished(async () => void (await remove(kube, storageClass)))
    const { claim, user } = claimAndUser(namespace)
    await applyAll(kube, [
      storageClass,
      { ...claim, spec: { ...claim.spec, storageClassName: namespace } },
      user,
    ])
    await expect(waitAvailable(kube, [user], { timeoutMs: 4000 })).rejects.toThrow(
      'PersistentVolumeClaim data: ProvisioningFailed: no volume plugin matched',
    )
  })

  test('a Job is available when complete; one that failed for good ends the wait at once', async () => {
    const namespace = await testNamespace(kube)
    const job = (name: string, script: string) => ({
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata: { name, namespace },
      spec: { backoffLimit: 0, template: { spec: { ...scripts({ main: script }), restartPolicy: 'Never' } } },
    })
    const [good, bad] = [job('good', 'true'), job('bad', 'echo it broke; exit 1')]
    await applyAll(kube, [good, bad])
    await waitAvailable(kube, [good], limits)
    await expect(waitAvailable(kube, [bad], { timeoutMs: 600_000 })).rejects.toMatchObject({
      code: 'KUBE_OBJECT_FAILED',
      message: expect.stringMatching(
        /Job \S+\/bad failed and will not become available: BackoffLimitExceeded[\s\S]*\| it broke/,
      ),
    })
  })

  test('a claim and the pod that uses it', async () => {
    const { claim, user } = claimAndUser(await testNamespace(kube))
    await applyAll(kube, [user, claim])
    await waitAvailable(kube, [user, claim], limits)
    expect(await execInPod(kube, user, ['cat', '/data/file'])).toMatchObject({ stdout: 'kept\n' })
  })
})

function claimAndUser(namespace: string) {
  const claim = {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name: 'data', namespace },
    spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Mi' } } },
  }
  const user = pod('user', namespace, {
    ...scripts(
      { main: `echo kept > /data/file; ${idle}` },
      { volumeMounts: [{ name: 'data', mountPath: '/data' }] },
    ),
    volumes: [{ name: 'data', persistentVolumeClaim: { claimName: 'data' } }],
  })
  return { claim, user }
}

test('describeFailure of a namespace tells what is wrong there, and nothing of what is well', async () => {
  const namespace = await testNamespace(kube)
  const well = pod('well', namespace, scripts({ main: idle }))
  const ill = pod('ill', namespace, scripts({ main: 'echo last words; exit 1' }))
  await applyAll(kube, [well, ill])
  await waitAvailable(kube, [well], limits)
  await waitFor(
    kube,
    ill,
    { jsonPath: '{.status.containerStatuses[0].state.waiting.reason}', value: 'CrashLoopBackOff' },
    limits,
  )
  await expect
    .poll(() => events(kube, namespace, { about: ill }))
    .toContainEqual(expect.objectContaining({ reason: 'BackOff', type: 'Warning' }))
  const report = await describeFailure(kube, namespace)
  expect(report.pods).toMatchObject([
    { name: 'ill', namespace, containers: [{ name: 'main', log: 'last words' }] },
  ])
  expect(report.events.map(({ about, reason }) => `${about.name} ${reason}`)).toEqual(['ill BackOff'])
  expect(report.text).toContain(`Pod ${namespace}/ill`)
  expect(report.text).not.toContain('well')
})
