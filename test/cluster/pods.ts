import { applyAll, execInPod, type Kube, type KubeObject, list, waitFor } from '../../src/kube/index.ts'

/** On every node of every cluster: busybox, with httpd, wget, nc and nslookup. */
export const busybox = 'docker.io/mayfly/local-path-helper:v1'

const limits = { timeoutMs: 60_000 }

/** Names of the objects of a kind, in order; of all namespaces when none is given. */
export async function namesOf(
  kube: Kube,
  kind: string,
  namespace?: string,
  apiVersion = 'v1',
): Promise<string[]> {
  const objects = await list(kube, { apiVersion, kind }, { namespace })
  return objects.map(({ metadata }) => metadata.name ?? '').sort()
}

/** Names of the pods in kube-system, with `*` for what is random and NAME for the cluster. */
export async function systemPods(kube: Kube, cluster: string): Promise<string[]> {
  const names = await namesOf(kube, 'Pod', 'kube-system')
  const random = /(-[b-df-hj-np-tv-xz2-9]{5,10})?-[b-df-hj-np-tv-xz2-9]{5}$/
  return names.map((name) => name.replace(cluster, 'NAME').replace(random, '-*')).sort()
}

/** A pod that serves its own name over HTTP on port 8080, on a node of choice. */
export function webPod(name: string, nodeName?: string): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default', labels: { app: name } },
    spec: {
      ...(nodeName && { nodeName }),
      terminationGracePeriodSeconds: 0,
      containers: [
        {
          name: 'web',
          image: busybox,
          imagePullPolicy: 'IfNotPresent',
          command: ['sh', '-c', 'mkdir -p /www && hostname > /www/index.html && httpd -f -p 8080 -h /www'],
          readinessProbe: { tcpSocket: { port: 8080 }, periodSeconds: 1 },
        },
      ],
    },
  }
}

/** Applies objects and waits until the pods among them are Ready. */
export async function run(kube: Kube, ...objects: KubeObject[]): Promise<void> {
  await applyAll(kube, objects, limits)
  for (const object of objects.filter(({ kind }) => kind === 'Pod')) {
    await waitFor(kube, object, { condition: 'Ready' }, limits)
  }
}

/** Runs a command in a pod of namespace `default`. */
export async function inPod(
  kube: Kube,
  name: string,
  ...argv: string[]
): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  const { exitCode, stdout, stderr } = await execInPod(kube, { name, namespace: 'default' }, argv)
  return { exitCode, stdout: stdout.trim(), stderr: stderr.trim() }
}

/** Asks for a URL from within a pod. */
export function httpGet(kube: Kube, pod: string, url: string): ReturnType<typeof inPod> {
  // `wget -T` of Debian's static busybox 1.35 ends with a segmentation fault.
  return inPod(kube, pod, 'busybox', 'timeout', '3', 'wget', '-qO-', url)
}
