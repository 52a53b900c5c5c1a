import { nodeReference } from './reference.ts'

interface Container {
  name?: string
  image?: string
  imagePullPolicy?: string
}

interface PodSpec {
  containers?: Container[]
  initContainers?: Container[]
  ephemeralContainers?: Container[]
}

/**
 * Explains containers that will not use a loaded image, because the kubelet asks a registry for it first:
 * `imagePullPolicy: Always`, or none and a tag `latest` or no tag, which means the same.
 *
 * Rules: kubernetes.io/docs/concepts/containers/images, "Default image pull policy".
 *
 * @param objects Kubernetes objects of any kind; pod specs are found wherever they are in them. A pod spec alone works
 *   as well
 * @param loadedImages Names of images on the nodes, as people or nodes write them
 * @returns One sentence for each such container
 */
export function explainPullPolicy(objects: readonly unknown[], loadedImages: readonly string[]): string[] {
  const loaded = new Set(loadedImages.map(nodeReference))
  return objects.flatMap((object) => {
    const { kind, metadata } = (object ?? {}) as { kind?: string; metadata?: { name?: string } }
    const owner = kind ? `${kind} "${metadata?.name ?? ''}"` : 'the pod'
    return podSpecsIn(object)
      .flatMap(({ containers = [], initContainers = [], ephemeralContainers = [] }) => [
        ...initContainers,
        ...containers,
        ...ephemeralContainers,
      ])
      .flatMap(({ name = '', image = '', imagePullPolicy }) => {
        const reference = image && nodeReference(image)
        if (!reference || !loaded.has(reference)) return []
        const why = whyPulled(reference, imagePullPolicy)
        if (!why) return []
        return [
          `Container "${name}" of ${owner} will not use the loaded image "${image}": ${why}, so the kubelet asks a ` +
            `registry for it; set imagePullPolicy: IfNotPresent`,
        ]
      })
  })
}

function whyPulled(reference: string, policy: string | undefined): string | undefined {
  if (policy === 'Always') return 'its imagePullPolicy is Always'
  if (policy || reference.includes('@') || !reference.endsWith(':latest')) return undefined
  return 'its tag is latest and it has no imagePullPolicy, which means Always'
}

/** Custom resources have pod templates at paths of their own, hence the search. */
function podSpecsIn(value: unknown): PodSpec[] {
  if (Array.isArray(value)) return value.flatMap(podSpecsIn)
  if (typeof value !== 'object' || value === null) return []
  const { containers } = value as PodSpec
  const own = Array.isArray(containers) ? [value as PodSpec] : []
  return [...own, ...Object.values(value).flatMap(podSpecsIn)]
}
