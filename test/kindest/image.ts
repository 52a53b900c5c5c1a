/**
 * A node image as people get it from kind: with kind's own files out of its Go module, in kind's layout, and its core
 * images as archives. No registry can be reached here, so the programs in it are our own node image's.
 */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { buildImageFrom, type ContainerFile, type Engine } from '../../src/engine/index.ts'
import { ownImages } from '../../src/node-image/recipe.ts'

const here = import.meta.dirname

/** The folder with the files of kind's base image. */
async function kindFiles(): Promise<string> {
  const { stdout } = await execa('go', ['mod', 'download', '-json', 'sigs.k8s.io/kind'], {
    cwd: join(here, '../../bench/kind'),
  })
  return join(JSON.parse(stdout).Dir, 'images/base/files')
}

/** An image of the layers of ours. kubeadm knows the whole name of one without a tag. */
function coreImage(name: string, layers: string[], entrypoint: string[]): object {
  const path = 'PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
  return { name, layers, config: { Env: [path], Entrypoint: entrypoint } }
}

const coreImages = [
  ...['kube-apiserver', 'kube-controller-manager', 'kube-scheduler'].map((name) =>
    coreImage(name, ['base', 'kubernetes'], [`/usr/local/bin/${name}`]),
  ),
  coreImage('kube-proxy', ['base', 'kubernetes', 'iptables-nft'], []),
  // The only one that deletes a file of a layer below.
  coreImage('coredns', ['base', 'coredns', 'deletion'], ['/coredns']),
  coreImage('etcd', ['base', 'etcd'], ['/usr/local/bin/etcd']),
  // Not kubeadm's: the one that kind's configuration of containerd names.
  coreImage('registry.k8s.io/pause:3.10', ['pause'], ['/pause']),
  coreImage(ownImages.network, ['base', 'network', 'iptables-nft'], ['/bin/mayfly-node', 'network']),
  coreImage(ownImages.localPathProvisioner, ['base', 'local-path'], ['/bin/local-path-provisioner']),
  coreImage(ownImages.localPathHelper, ['base', 'shell'], ['/bin/sh']),
]

/**
 * Builds it.
 *
 * @param from A node image of ours
 */
export async function buildKindestImage(engine: Engine, reference: string, from: string): Promise<void> {
  const files = await kindFiles()
  const entries = await readdir(files, { recursive: true, withFileTypes: true })
  const ofKind = entries
    .filter((entry) => entry.isFile())
    .map(async (entry): Promise<ContainerFile> => {
      const path = join(entry.parentPath, entry.name)
      return { path: `/kind${path.slice(files.length)}`, content: await readFile(path) }
    })
  await buildImageFrom(
    engine,
    [
      { path: '/Dockerfile', content: await readFile(join(here, 'Dockerfile')) },
      { path: '/layout.sh', content: await readFile(join(here, 'layout.sh')) },
      { path: '/images.json', content: JSON.stringify(coreImages) },
      ...(await Promise.all(ofKind)),
    ],
    reference,
    { args: { IMAGE: from } },
  )
}
