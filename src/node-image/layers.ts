import { existsSync } from 'node:fs'
import {
  chmod,
  cp,
  link,
  mkdir,
  readdir,
  readlink,
  realpath,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { basename, dirname, join, relative } from 'node:path'
import { writeJson } from './cache.ts'
import type { KubernetesSource } from './compile.ts'
import {
  type Architecture,
  kubernetesPrograms,
  ownImages,
  packetFilterPlugins,
  packetFilterPrograms,
} from './recipe.ts'
import { gnuTriplet, run } from './toolchain.ts'

/** Where things lie that the layers are made of. */
export interface LayerInputs {
  sources: string
  arch: Architecture
  epoch: number
  kubernetes: KubernetesSource
  /** Root file system, unpacked. */
  rootfsTree: string
  /** Folder with Kubernetes' programs, the links to them, and pause. */
  kubernetesBin: string
  /** Folder of each other program, by the program's name. */
  programs: Readonly<Record<string, string>>
  /** `mayfly-node` for this host, which writes containerd's databases. */
  hostMayflyNode: string
}

const layersDir = 'usr/share/mayfly/layers'
const storeDir = 'usr/share/mayfly/containerd'

/** The images that `kubeadm config images list` names, by what they are. */
export async function kubeadmImages(kubeadm: string, version: string): Promise<Record<string, string>> {
  const listed = await run(kubeadm, ['config', 'images', 'list', `--kubernetes-version=${version}`])
  return Object.fromEntries(
    listed
      .trim()
      .split('\n')
      .map((name) => [basename(name).split(':')[0] ?? name, name]),
  )
}

/**
 * Fills a folder with everything of a node image that is not Debian's: programs, units, and the core images,
 * each layer of them unpacked below `/usr/share/mayfly/layers`. Programs that occur in several places are hard links.
 */
export async function fillNodeLayer(
  root: string,
  inputs: LayerInputs,
  images: Record<string, string>,
): Promise<void> {
  await installStaticFiles(root, inputs, images)
  await installPrograms(root, inputs)
  await makeImageLayers(root, inputs)
  await bakeStore(root, inputs, images)
}

async function installStaticFiles(
  root: string,
  { sources, kubernetes }: LayerInputs,
  images: Record<string, string>,
) {
  await cp(join(sources, 'rootfs'), root, { recursive: true })
  const containerdConfig = join(root, 'etc/containerd/config.toml')
  await substitute(containerdConfig, { PAUSE_IMAGE: images['pause'] ?? '' })
  await mkdir(join(root, 'etc/containerd/certs.d'), { recursive: true })
  await mkdir(join(root, 'kind/manifests'), { recursive: true })
  await writeFile(join(root, 'kind/version'), `${kubernetes.version}\n`)
  await cp(join(sources, 'manifests'), join(root, 'kind/manifests'), { recursive: true })
  await mkdir(join(root, 'var/lib/kubelet'), { recursive: true })
  await mkdir(join(root, 'etc/kubernetes/manifests'), { recursive: true })
  await mkdir(join(root, 'etc/cni/net.d'), { recursive: true })
}

async function substitute(file: string, values: Record<string, string>): Promise<void> {
  const { readFile } = await import('node:fs/promises')
  let text = await readFile(file, 'utf8')
  for (const [name, value] of Object.entries(values)) text = text.replaceAll(`@${name}@`, value)
  await writeFile(file, text)
}

const cniPlugins = ['bridge', 'host-local', 'loopback', 'portmap', 'ptp']
const nodePrograms = ['containerd', 'containerd-shim-runc-v2', 'ctr', 'crun', 'runc', 'mayfly-node']

async function installPrograms(root: string, { kubernetesBin, programs }: LayerInputs): Promise<void> {
  const bin = join(root, 'usr/local/bin')
  for (const [program, names] of Object.entries(kubernetesPrograms))
    await placeKubernetes(bin, kubernetesBin, program, names)
  for (const name of nodePrograms) await place(programs[name], join(bin, name))
  for (const name of cniPlugins) await place(programs[name], join(root, 'opt/cni/bin', name))
  await symlink('mayfly-node', join(bin, 'crictl'))
}

async function placeKubernetes(
  bin: string,
  from: string,
  program: string,
  names: readonly string[],
): Promise<void> {
  await place(join(from, program), join(bin, program))
  for (const name of names) await symlink(program, join(bin, name))
}

/** Puts a file somewhere without a second copy of its bytes. */
async function place(from: string | undefined, to: string): Promise<void> {
  if (from === undefined) throw new Error(`nothing was built for ${to}`)
  await mkdir(dirname(to), { recursive: true })
  await link(from, to).catch(async (thrown: NodeJS.ErrnoException) => {
    if (thrown.code !== 'EXDEV') throw thrown
    await cp(from, to)
  })
}

async function makeImageLayers(root: string, inputs: LayerInputs): Promise<void> {
  const layer = (name: string) => join(root, layersDir, name)
  const { programs, kubernetesBin, rootfsTree } = inputs
  await makeBaseLayer(layer('base'), rootfsTree)
  const servers = kubernetesPrograms.kubernetes.filter((name) => name.startsWith('kube-'))
  await placeKubernetes(join(layer('kubernetes'), 'usr/local/bin'), kubernetesBin, 'kubernetes', servers)
  for (const flavour of ['nft', 'legacy'])
    await makePacketFilterLayer(layer(`iptables-${flavour}`), flavour, inputs)
  await place(programs['etcd'], join(layer('etcd'), 'usr/local/bin/etcd'))
  await place(programs['coredns'], join(layer('coredns'), 'coredns'))
  await place(join(kubernetesBin, 'pause'), join(layer('pause'), 'pause'))
  await place(programs['local-path-provisioner'], join(layer('local-path'), 'bin/local-path-provisioner'))
  await place(programs['mayfly-node'], join(layer('network'), 'bin/mayfly-node'))
  await makeShellLayer(layer('shell'), rootfsTree)
}

/** What every program expects around it: users, certificate authorities, a place for temporary files. */
async function makeBaseLayer(dir: string, rootfsTree: string): Promise<void> {
  await mkdir(join(dir, 'etc/ssl/certs'), { recursive: true })
  await writeFile(
    join(dir, 'etc/passwd'),
    'root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n',
  )
  await writeFile(join(dir, 'etc/group'), 'root:x:0:\nnogroup:x:65534:\n')
  await writeFile(join(dir, 'etc/nsswitch.conf'), 'hosts: files dns\n')
  // nft, where it finds no names of protocols, lists numbers: kube-proxy then takes its own rules for another's.
  for (const file of ['etc/ssl/certs/ca-certificates.crt', 'etc/protocols'])
    await cp(join(rootfsTree, file), join(dir, file))
  await mkdir(join(dir, 'tmp'))
  await chmod(join(dir, 'tmp'), 0o1777)
}

const shellCommands = [
  'cat', 'chmod', 'chown', 'cp', 'cut', 'date', 'dd', 'df', 'dirname', 'du', 'echo', 'env', 'expr', 'false', 'find', 'grep',
  'head', 'hostname', 'httpd', 'id', 'ip', 'kill', 'ln', 'ls', 'mkdir', 'mktemp', 'mv', 'nc', 'nslookup', 'ping', 'printf', 'ps',
  'pwd', 'readlink', 'rm', 'rmdir', 'sed', 'seq', 'sh', 'sleep', 'sort', 'stat', 'sync', 'tail', 'tar', 'tee', 'test', 'timeout',
  'touch', 'tr', 'true', 'uname', 'uniq', 'wc', 'wget', 'which', 'xargs', 'yes',
] // biome-ignore format: a list of words

async function makeShellLayer(dir: string, rootfsTree: string): Promise<void> {
  await mkdir(join(dir, 'bin'), { recursive: true })
  await cp(join(rootfsTree, 'usr/bin/busybox'), join(dir, 'bin/busybox'))
  for (const command of shellCommands) await symlink('busybox', join(dir, 'bin', command))
}

/** Programs from the root file system that filter packets, with the libraries and plug-ins they load. */
async function makePacketFilterLayer(
  dir: string,
  flavour: string,
  { rootfsTree, arch }: LayerInputs,
): Promise<void> {
  const triplet = gnuTriplet(arch)
  const wanted = packetFilterPrograms.map((program) => join('usr/sbin', program))
  const plugins = packetFilterPlugins.map((path) => path.replace('LIB', triplet))
  for (const path of plugins) {
    for (const file of await readdir(join(rootfsTree, path))) wanted.push(join(path, file))
  }
  const loader = arch === 'arm64' ? 'lib/ld-linux-aarch64.so.1' : 'lib64/ld-linux-x86-64.so.2'
  const queue = [...wanted]
  const seen = new Set<string>()
  for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
    if (seen.has(path) || !existsSync(join(rootfsTree, path))) continue
    seen.add(path)
    for (const library of await neededLibraries(join(rootfsTree, path)))
      queue.push(join('usr/lib', triplet, library))
    await copyThroughLinks(rootfsTree, path, dir)
  }
  // The loader's name is compiled into every program.
  await mkdir(join(dir, dirname(loader)), { recursive: true })
  await cp(await realpath(join(rootfsTree, loader)), join(dir, loader))
  for (const [name, target] of [
    ...['iptables', 'ip6tables'].flatMap((program) =>
      ['', '-save', '-restore'].map((suffix) => [program + suffix, `xtables-${flavour}-multi`] as const),
    ),
  ]) {
    await symlink(target, join(dir, 'usr/sbin', name))
  }
}

async function neededLibraries(file: string): Promise<string[]> {
  const listed = await run('objdump', ['-p', file]).catch(() => '')
  return [...listed.matchAll(/^\s+NEEDED\s+(\S+)$/gm)].map(([, library]) => library ?? '')
}

/** Copies a file, and where it is a link, the link and what it leads to. */
async function copyThroughLinks(tree: string, path: string, to: string): Promise<void> {
  const from = join(tree, path)
  await mkdir(dirname(join(to, path)), { recursive: true })
  const target = await readlink(from).catch(() => undefined)
  if (target === undefined) {
    await cp(from, join(to, path))
    return
  }
  if (existsSync(join(to, path))) return
  await symlink(target, join(to, path))
  const next = target.startsWith('/') ? target.slice(1) : relative(tree, join(dirname(from), target))
  await copyThroughLinks(tree, next, to)
}

/** Writes containerd's store for the core images into the layer. */
async function bakeStore(root: string, inputs: LayerInputs, images: Record<string, string>): Promise<void> {
  const named = (name: string) => {
    const image = images[name]
    if (image === undefined) throw new Error(`kubeadm names no image for ${name}: ${JSON.stringify(images)}`)
    return image
  }
  const path = ['PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin']
  const plain = (name: string, layers: string[], entrypoint: string[] = []) => ({
    name,
    layers,
    config: { Env: path, ...(entrypoint.length > 0 && { Entrypoint: entrypoint }) },
  })
  const layerNames = await readdir(join(root, layersDir))
  const document = {
    architecture: inputs.arch,
    created: new Date(inputs.epoch * 1000).toISOString(),
    layers: Object.fromEntries(
      layerNames.map((name) => [
        name,
        { source: join(root, layersDir, name), nodePath: `/${layersDir}/${name}` },
      ]),
    ),
    images: [
      plain(named('pause'), ['pause'], ['/pause']),
      plain(named('etcd'), ['base', 'etcd'], ['/usr/local/bin/etcd']),
      plain(named('coredns'), ['base', 'coredns'], ['/coredns']),
      plain(named('kube-apiserver'), ['base', 'kubernetes'], ['/usr/local/bin/kube-apiserver']),
      plain(
        named('kube-controller-manager'),
        ['base', 'kubernetes'],
        ['/usr/local/bin/kube-controller-manager'],
      ),
      plain(named('kube-scheduler'), ['base', 'kubernetes'], ['/usr/local/bin/kube-scheduler']),
      // Links that end in a directory, such as /lib, belong to the layer with the loader: it comes last.
      plain(named('kube-proxy'), ['base', 'kubernetes', 'iptables-nft']),
      plain(ownImages.network, ['base', 'network', 'iptables-nft'], ['/bin/mayfly-node', 'network']),
      plain(ownImages.localPathProvisioner, ['base', 'local-path'], ['/bin/local-path-provisioner']),
      plain(ownImages.localPathHelper, ['base', 'shell'], ['/bin/sh']),
    ],
  }
  const output = join(root, storeDir)
  await mkdir(output, { recursive: true })
  await run('find', [
    join(root, layersDir),
    '-exec',
    'touch',
    '--no-dereference',
    `--date=@${inputs.epoch}`,
    '{}',
    '+',
  ])
  const documentFile = `${root}.images.json`
  await writeJson(documentFile, document)
  await run(inputs.hostMayflyNode, ['images-bake', '-document', documentFile, '-output', output])
  await run('rm', [documentFile])
  await stat(join(output, 'snapshots.json'))
}
