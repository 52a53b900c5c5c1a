import { isIP } from 'node:net'
import { z } from 'zod'
import { type Cidr, parseCidr } from './cidr.ts'
import {
  kubeadmPatchFault,
  kubeadmTargetFault,
  type PatchFault,
  parseJsonPatch,
  tomlPatchFault,
} from './patches.ts'
import type { Json6902Patch } from './spec.ts'

/**
 * What a custom issue of this schema carries beside its message, which is the text after "allowed:".
 * Problems are put into words elsewhere, where the value and its place in the file are at hand.
 */
export interface IssueParams {
  /** What the field wants, for scalars that YAML reads as another type than kind does. */
  wants?: 'text' | 'flag'
  /** The whole sentence after the field's name, in place of "is VALUE; allowed: MESSAGE". */
  fault?: PatchFault
}

/** The field is checked as a whole, so that its one message can name everything that is allowed. */
function leaf<T>(allowed: string, accepts: (value: unknown) => boolean, params: IssueParams = {}) {
  return z.custom<T>(accepts, { error: allowed, params: { ...params } })
}

function text(allowed: string, accepts: RegExp | ((value: string) => boolean) = () => true) {
  const test = accepts instanceof RegExp ? (value: string) => accepts.test(value) : accepts
  return leaf<string>(allowed, (value) => typeof value === 'string' && test(value), { wants: 'text' })
}

const flag = leaf<boolean>('true or false', (value) => typeof value === 'boolean', { wants: 'flag' })

function wholeNumber(from: number, to: number, more = '') {
  return leaf<number>(
    `a whole number from ${from} to ${to}${more}`,
    (value) => Number.isInteger(value) && Number(value) >= from && Number(value) <= to,
  )
}

/** An object of which every field is known; the message about an unknown one has the names of those that are. */
function fields<Shape extends z.core.$ZodLooseShape>(shape: Shape, allowed = 'an object') {
  return z.strictObject(shape, {
    error: ({ code }) => (code === 'unrecognized_keys' ? Object.keys(shape).join(', ') : allowed),
  })
}

function list<Item extends z.ZodType>(item: Item) {
  return z.array(item, { error: 'a list' })
}

function map<Value extends z.ZodType>(key: z.ZodType<string, string>, value: Value) {
  return z.record(key, value, { error: 'an object' })
}

/** Text whose content has a syntax of its own. */
function checkedText(allowed: string, faultOf: (content: string) => PatchFault | undefined) {
  return text(allowed).superRefine((content, context) => {
    const fault = faultOf(content)
    if (fault) context.addIssue({ code: 'custom', message: allowed, params: { fault } })
  })
}

// https://github.com/kubernetes/apimachinery/blob/master/pkg/util/validation/validation.go
const dnsLabel = /[a-z0-9](?:[-a-z0-9]*[a-z0-9])?/
const dnsSubdomain = new RegExp(`^${dnsLabel.source}(?:\\.${dnsLabel.source})*$`)
const qualifiedName = /^[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/

const dnsName = (what: string) =>
  text(
    `${what} of at most 63 lower-case letters, digits, "-" and ".", with a letter or digit at both ends`,
    (value) => value.length <= 63 && dnsSubdomain.test(value),
  )

// https://github.com/distribution/reference/blob/main/regexp.go
const imagePart = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*'
const imageReference = new RegExp(
  `^(?:(?:[A-Za-z0-9][-A-Za-z0-9.]*|\\[[0-9a-fA-F:]+\\])(?::\\d+)?/)?${imagePart}(?:/${imagePart})*` +
    '(?::\\w[\\w.-]{0,127})?(?:@[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[0-9a-fA-F]{32,})?$',
)

/** A reference of a node image. */
export const imageField = text('an image reference such as "mayfly/node:v1.37.2"', imageReference)

const labelKey = text(
  'a label key: an optional DNS prefix and "/", then at most 63 letters, digits, "-", "_", "."',
  (key) => {
    const [name = '', prefix, ...rest] = key.split('/').reverse()
    const prefixFits = prefix === undefined || (prefix.length <= 253 && dnsSubdomain.test(prefix))
    return rest.length === 0 && prefixFits && qualifiedName.test(name)
  },
)
const labelValue = text(
  'at most 63 letters, digits, "-", "_" and ".", with a letter or digit at both ends',
  (value) => value === '' || qualifiedName.test(value),
)

const ipAddress = text('an IP address', (value) => isIP(value) !== 0)

/** -1 is kind's word for "the engine chooses", which 0 says here. */
const hostPort = wholeNumber(-1, 65535, ' (0 or -1: the engine chooses)').transform((port) =>
  Math.max(port, 0),
)

const mount = fields({
  hostPath: text('a path on the host', /./),
  containerPath: text('an absolute path inside the node, and not "/"', /^\/+[^/]/),
  readOnly: flag.optional(),
  selinuxRelabel: flag.optional(),
  propagation: z.enum(['None', 'HostToContainer', 'Bidirectional']).optional(),
})

const portMapping = fields({
  containerPort: wholeNumber(1, 65535),
  hostPort: hostPort.optional(),
  listenAddress: ipAddress.optional(),
  protocol: z
    .preprocess(
      (value) => (typeof value === 'string' ? value.toUpperCase() : value),
      z.enum(['TCP', 'UDP', 'SCTP']),
    )
    .optional(),
})

const kubeadmPatch = checkedText('YAML text', kubeadmPatchFault)

const kubeadmPatch6902 = fields({
  group: text('an API group such as "kubeadm.k8s.io"').optional(),
  version: text('an API version such as "v1beta4"').optional(),
  kind: text('a kind such as "ClusterConfiguration"'),
  patch: leaf<unknown>(
    'JSON or YAML text of a list of operations (RFC 6902)',
    (value) => typeof value === 'string' || Array.isArray(value),
  ).transform((patch, context) => {
    const result = parseJsonPatch(patch)
    if ('operations' in result) return result.operations
    context.addIssue({ code: 'custom', message: 'operations', params: { fault: result.fault } })
    return z.NEVER
  }),
}).transform(({ group = '', version = '', kind, patch }, context): Json6902Patch => {
  const fault =
    group && !version
      ? { reason: `has "group" ${JSON.stringify(group)} and no "version"; allowed: both, or neither` }
      : kubeadmTargetFault(kind, version ? [group, version].filter(Boolean).join('/') : undefined)
  if (fault) context.addIssue({ code: 'custom', message: 'a target', params: { fault } })
  return { group, version, kind, patch }
})

const containerdPatch = checkedText('TOML text', tomlPatchFault)

/** Kept as JSON text: what reads it has no need of a YAML parser. */
const containerdPatch6902 = text('JSON or YAML text of a list of operations (RFC 6902)').transform(
  (patch, context) => {
    const result = parseJsonPatch(patch)
    if ('operations' in result) return JSON.stringify(result.operations)
    context.addIssue({ code: 'custom', message: 'operations', params: { fault: result.fault } })
    return z.NEVER
  },
)

const memoryUnits: Record<string, number> = {
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
}

function bytesOf(memory: unknown): number {
  if (typeof memory === 'number') return Number.isInteger(memory) ? memory : Number.NaN
  const [, amount, unit = ''] = /^(\d+(?:\.\d+)?)([kMGT]|[KMGT]i)?$/.exec(String(memory)) ?? []
  return amount === undefined ? Number.NaN : Math.floor(Number(amount) * (memoryUnits[unit] ?? Number.NaN))
}

const memory = leaf<string | number>(
  'bytes, or a quantity such as "512Mi" or "2Gi"; at least 128Mi',
  (value) => bytesOf(value) >= 128 * 2 ** 20,
).transform(bytesOf)

const node = z.preprocess(
  (value) => (typeof value === 'string' ? { role: value } : value),
  fields(
    {
      role: z.enum(['control-plane', 'worker']).optional(),
      image: imageField.optional(),
      labels: map(labelKey, labelValue).optional(),
      extraMounts: list(mount).optional(),
      extraPortMappings: list(portMapping).optional(),
      kubeadmConfigPatches: list(kubeadmPatch).optional(),
      kubeadmConfigPatchesJSON6902: list(kubeadmPatch6902).optional(),
      name: dnsName('a node name').optional(),
      cpus: leaf<number>(
        'a number above 0, such as 1.5',
        (value) => Number.isFinite(value) && Number(value) > 0,
      ).optional(),
      memory: memory.optional(),
    },
    'control-plane, worker, or an object',
  ),
)

const cidrList = leaf<string | string[]>(
  'a CIDR such as "10.244.0.0/16", or one of each family separated by a comma',
  (value) => cidrsOf(value) !== undefined,
  { wants: 'text' },
).transform((value) => cidrsOf(value) ?? [])

function cidrsOf(value: unknown): Cidr[] | undefined {
  const texts = typeof value === 'string' ? value.split(',') : Array.isArray(value) ? value : []
  const cidrs = texts.map((one) => (typeof one === 'string' ? parseCidr(one) : undefined))
  return cidrs.length > 0 && cidrs.every((cidr) => cidr !== undefined) ? cidrs : undefined
}

const dnsDomainLabel = '[A-Za-z0-9_](?:[-\\w]*[A-Za-z0-9_])?'
const dnsDomain = new RegExp(`^(?:\\.|${dnsDomainLabel}(?:\\.${dnsDomainLabel})*\\.?)$`)

const networking = fields({
  ipFamily: z.enum(['ipv4', 'ipv6', 'dual']).optional(),
  apiServerPort: hostPort.optional(),
  apiServerAddress: ipAddress.optional(),
  podSubnet: cidrList.optional(),
  serviceSubnet: cidrList.optional(),
  disableDefaultCNI: flag.optional(),
  kubeProxyMode: z.enum(['iptables', 'ipvs', 'nftables', 'none']).optional(),
  dnsSearch: list(text('a DNS domain', dnsDomain)).optional(),
})

const featureGateName = text('a name such as "InPlacePodVerticalScaling"', /^[A-Za-z][A-Za-z0-9]*$/)

const runtimeConfigKey = text(
  'api/all, api/ga, api/beta, api/alpha, GROUP/VERSION or GROUP/VERSION/RESOURCE',
  /^[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?(?:\/[A-Za-z0-9]+){0,2}$/,
)

// kube-apiserver reads these values with Go's strconv.ParseBool; without a value a name is switched on.
const runtimeConfigValue = leaf<string | boolean>(
  '"true" or "false"',
  (value) =>
    typeof value === 'boolean' || (typeof value === 'string' && /^(?:1|t|true|0|f|false|)$/i.test(value)),
).transform((value) => String(!/^(?:0|f|false)$/i.test(String(value))))

const registryHost = text(
  'a registry host such as "docker.io" or "registry:5000", or "*" for all',
  /^(?:\*|_default|(?:[A-Za-z0-9](?:[-A-Za-z0-9.]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::\d{1,5})?)$/,
)

const mirrorUrl = text('an http:// or https:// URL without user, query or fragment', (value) => {
  const url = URL.parse(value)
  return (
    url !== null &&
    /^https?:\/\//i.test(value) &&
    !url.username &&
    !url.password &&
    !value.includes('?') &&
    !value.includes('#')
  )
})

const mirrorUrls = z
  .preprocess((value) => (typeof value === 'string' ? [value] : value), list(mirrorUrl))
  .superRefine((urls, context) => {
    if (urls.length > 0) return
    context.addIssue({
      code: 'custom',
      message: 'urls',
      params: { fault: { reason: 'is empty; allowed: at least one URL' } },
    })
  })

const proxyAddress = text('a URL such as "http://proxy:3128"', (value) => {
  const url = URL.parse(/^[a-z0-9]+:\/\//i.test(value) ? value : `http://${value}`)
  return url !== null && /^(?:https?|socks5h?):$/.test(url.protocol) && url.hostname !== ''
})

const noProxy = leaf<string | string[]>(
  'hosts, domains and CIDRs, as a list or separated by commas',
  (value) =>
    typeof value === 'string' || (Array.isArray(value) && value.every((one) => typeof one === 'string')),
  { wants: 'text' },
).transform((value) =>
  (typeof value === 'string' ? value.split(',') : value).map((one) => one.trim()).filter((one) => one !== ''),
)

const clusterShape = {
  name: dnsName('a name').optional(),
  nodes: list(node).optional(),
  networking: networking.optional(),
  featureGates: map(featureGateName, flag).optional(),
  runtimeConfig: map(runtimeConfigKey, runtimeConfigValue).optional(),
  kubeadmConfigPatches: list(kubeadmPatch).optional(),
  kubeadmConfigPatchesJSON6902: list(kubeadmPatch6902).optional(),
  containerdConfigPatches: list(containerdPatch).optional(),
  containerdConfigPatchesJSON6902: list(containerdPatch6902).optional(),
  image: imageField.optional(),
  registryMirrors: map(registryHost, mirrorUrls).optional(),
  proxy: z
    .union(
      [
        z.literal(false),
        fields({
          httpProxy: proxyAddress.optional(),
          httpsProxy: proxyAddress.optional(),
          noProxy: noProxy.optional(),
        }),
      ],
      { error: 'false, or an object with httpProxy, httpsProxy and noProxy' },
    )
    .optional(),
  controlPlaneOnly: flag.optional(),
}

const typeMeta = {
  kind: text('"Cluster"', /^Cluster$/),
  apiVersion: text('"kind.x-k8s.io/v1alpha4"').superRefine((apiVersion, context) => {
    if (apiVersion === 'kind.x-k8s.io/v1alpha4') return
    const older = /^kind\.(?:x-k8s|sigs\.k8s)\.io\/v1alpha[1-3]$/.test(apiVersion)
    const reason =
      `is ${JSON.stringify(apiVersion)}; allowed: "kind.x-k8s.io/v1alpha4"` +
      (older
        ? '; kind itself reads older versions no more: change this line, and see to the fields named here'
        : '')
    context.addIssue({ code: 'custom', message: 'version', params: { fault: { reason } } })
  }),
}

const optionsShape = {
  ...clusterShape,
  config: leaf<string | object>(
    'the path of a kind v1alpha4 YAML file, or its content as an object',
    (value) =>
      (typeof value === 'string' && value !== '') ||
      (typeof value === 'object' && value !== null && !Array.isArray(value)),
  ).optional(),
}

/**
 * Options as given to `createCluster`; `config` is looked into on its own.
 *
 * @param others Fields that the caller reads itself
 */
export function optionsSchema(others: readonly string[]) {
  return fields({
    ...Object.fromEntries(others.map((name) => [name, z.unknown().optional()])),
    ...optionsShape,
  })
}

/** A v1alpha4 file. */
export const fileSchema = fields({ ...typeMeta, ...clusterShape })

/** A v1alpha4 object in code, where its type says what it is. */
export const inlineSchema = fields({
  kind: typeMeta.kind.optional(),
  apiVersion: typeMeta.apiVersion.optional(),
  ...clusterShape,
})

/** What is common to all three after validation: every field still optional, texts parsed. */
export type ParsedCluster = {
  [Field in keyof typeof clusterShape]?: z.output<(typeof clusterShape)[Field]> | undefined
}

/** One node of a {@link ParsedCluster}. */
export type ParsedNode = NonNullable<ParsedCluster['nodes']>[number]
