import { type Cidr, canonicalAddress, overlaps, parseCidr } from './cidr.ts'
import { longestNodeMaskSizes } from './node-masks.ts'
import { type FieldPath, formatPath, notAllowed, type Problem } from './problems.ts'
import type { ClusterSpec, IpFamily } from './spec.ts'

/** A node's name is its hostname, which Linux limits. */
const hostnameLimit = 63

/** What no field shows by itself: names, ports and mounts that clash, subnets that do not fit each other. */
export function crossCheck(spec: ClusterSpec, namedNodes: ReadonlySet<number>): Problem[] {
  return [
    ...checkRoles(spec),
    ...checkControlPlaneOnly(spec),
    ...checkNames(spec, namedNodes),
    ...checkHostPorts(spec),
    ...checkMounts(spec),
    ...checkSubnets(spec),
  ]
}

function checkRoles({ nodes }: ClusterSpec): Problem[] {
  if (nodes.some(({ role }) => role === 'control-plane')) return []
  const seen = nodes.length === 1 ? 'has a worker only' : `has ${nodes.length} workers only`
  return [{ path: ['nodes'], reason: `${seen}; allowed: at least one control-plane` }]
}

function checkControlPlaneOnly({ nodes, controlPlaneOnly }: ClusterSpec): Problem[] {
  if (!controlPlaneOnly || nodes.length === 1) return []
  return [
    {
      path: ['nodes'],
      reason: `has ${nodes.length} nodes; allowed with controlPlaneOnly: one control-plane`,
    },
  ]
}

function checkNames({ name, nodes }: ClusterSpec, namedNodes: ReadonlySet<number>): Problem[] {
  const problems: Problem[] = []
  const longest = Math.max(0, ...nodes.map((node, index) => (namedNodes.has(index) ? 0 : node.name.length)))
  if (longest > hostnameLimit) {
    const most = hostnameLimit - (longest - name.length)
    problems.push({
      path: ['name'],
      reason: `is ${JSON.stringify(name)}, ${name.length} characters; allowed: at most ${most}, as the names of nodes begin with it and end at ${hostnameLimit}`,
    })
  }
  const firstWith = new Map<string, number>()
  for (const [index, node] of nodes.entries()) {
    const first = firstWith.get(node.name)
    if (first === undefined) firstWith.set(node.name, index)
    else {
      // A name made up by us is no mistake of the user's: the given one is.
      const given = namedNodes.has(index) ? index : first
      const other = given === index ? first : index
      problems.push({
        path: ['nodes', given, 'name'],
        reason: `is ${JSON.stringify(node.name)}, which is the name of nodes[${other}] too; allowed: a name of its own`,
      })
    }
  }
  return problems
}

interface Listener {
  path: FieldPath
  port: number
  address: string
  protocol: string
}

function checkHostPorts({ nodes, networking }: ClusterSpec): Problem[] {
  const { apiServerPort, apiServerAddress } = networking
  const listeners: Listener[] = [
    {
      path: ['networking', 'apiServerPort'],
      port: apiServerPort,
      address: apiServerAddress,
      protocol: 'TCP',
    },
    ...nodes.flatMap(({ extraPortMappings }, node) =>
      extraPortMappings.map(({ hostPort, listenAddress, protocol }, index) => ({
        path: ['nodes', node, 'extraPortMappings', index, 'hostPort'],
        port: hostPort,
        address: listenAddress,
        protocol,
      })),
    ),
  ].filter(({ port }) => port !== 0)
  return listeners.flatMap((listener, index) => {
    const clash = listeners.slice(0, index).find((earlier) => clashes(earlier, listener))
    if (!clash) return []
    const { path, port, protocol } = listener
    const reason = `is ${port}, which ${formatPath(clash.path)} publishes on the same address already; allowed: each ${protocol} port once`
    return [{ path, reason }]
  })
}

function clashes(one: Listener, other: Listener): boolean {
  if (one.port !== other.port || one.protocol !== other.protocol) return false
  const [first, second] = [canonicalAddress(one.address), canonicalAddress(other.address)]
  const everywhere = (address: string) => address === '0.0.0.0' || address === '::'
  return first === second || everywhere(first) || everywhere(second)
}

function checkMounts({ nodes }: ClusterSpec): Problem[] {
  return nodes.flatMap(({ extraMounts }, node) => {
    const paths = extraMounts.map(({ containerPath }) =>
      containerPath.replace(/\/+$/, '').replaceAll(/\/+/g, '/'),
    )
    return paths.flatMap((path, index) => {
      const first = paths.indexOf(path)
      if (first === index) return []
      const reason = `is ${JSON.stringify(path)}, where nodes[${node}].extraMounts[${first}] is mounted already; allowed: each path once a node`
      return [{ path: ['nodes', node, 'extraMounts', index, 'containerPath'], reason }]
    })
  })
}

function checkSubnets(spec: ClusterSpec): Problem[] {
  const { ipFamily, podSubnets, serviceSubnets } = spec.networking
  const [pods, services] = [podSubnets, serviceSubnets].map((texts) =>
    texts.map(parseCidr).filter((cidr) => cidr !== undefined),
  ) as [Cidr[], Cidr[]]
  const families = [
    ...checkFamilies(['networking', 'podSubnet'], pods, ipFamily),
    ...checkFamilies(['networking', 'serviceSubnet'], services, ipFamily),
  ]
  if (families.length > 0) return families
  return [...checkTogether(pods, services), ...checkSizes(spec, pods, services)]
}

const wantedFamilies: Record<IpFamily, string> = {
  ipv4: 'one IPv4 CIDR',
  ipv6: 'one IPv6 CIDR',
  dual: 'one IPv4 and one IPv6 CIDR',
}

function checkFamilies(path: FieldPath, cidrs: Cidr[], ipFamily: IpFamily): Problem[] {
  const seen = cidrs.map(({ family }) => family).sort()
  const wanted = { ipv4: '4', ipv6: '6', dual: '4,6' }[ipFamily]
  if (seen.join(',') === wanted) return []
  return [
    { path, reason: notAllowed(textOf(cidrs), `${wantedFamilies[ipFamily]}, as ipFamily is ${ipFamily}`) },
  ]
}

function checkTogether(pods: Cidr[], services: Cidr[]): Problem[] {
  const path = ['networking', 'serviceSubnet']
  if (pods[0]?.family !== services[0]?.family) {
    const allowed = `the families in the order of podSubnet (${textOf(pods)}), the first being the cluster's primary one`
    return [{ path, reason: notAllowed(textOf(services), allowed) }]
  }
  const clash = services.find((service) => pods.some((pod) => overlaps(pod, service)))
  return clash
    ? [
        {
          path,
          reason: notAllowed(
            textOf(services),
            `a subnet that does not overlap with podSubnet (${textOf(pods)})`,
          ),
        },
      ]
    : []
}

function checkSizes(spec: ClusterSpec, pods: Cidr[], services: Cidr[]): Problem[] {
  const problems: Problem[] = []
  // kubeadm wants ten addresses, the tenth being the cluster DNS's.
  for (const service of services) {
    const longest = service.family === 4 ? 28 : 124
    if (service.prefix <= longest) continue
    const allowed = `a subnet of at least 16 addresses (a prefix of /${longest} or shorter)`
    problems.push({ path: ['networking', 'serviceSubnet'], reason: notAllowed(service.text, allowed) })
  }
  // What patches set is known, and compared, once they are applied.
  if (JSON.stringify(spec).includes('node-cidr-mask-size')) return problems
  for (const [at, pod] of pods.entries()) {
    const longest = longestNodeMaskSizes[pod.family]
    if ((spec.networking.nodeMaskSizes[at] ?? 0) <= longest) continue
    const most = longest - Math.ceil(Math.log2(spec.nodes.length + 1))
    const allowed = `a prefix of /${most} or shorter (nodes: ${spec.nodes.length}, and room for one more; each gets a /${longest} of it at least)`
    problems.push({ path: ['networking', 'podSubnet'], reason: notAllowed(pod.text, allowed) })
  }
  return problems
}

function textOf(cidrs: Cidr[]): string {
  return cidrs.map(({ text }) => text).join(',')
}
