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
  const { stdout } = await execa('go', ['list', '-m', '-f', '{{.Dir}}', 'sigs.k8s.io/kind'], {
    cwd: join(here, '../../bench/kind'),
  })
  return join(stdout, 'images/base/files')
}

/** kind's images by name, and the layers of ours that each is made of; versions are kubeadm's and kind's. */
function coreImages(kubernetes: string): object[] {
  const image = (name: string, layers: string[], entrypoint: string[]) => ({
    name,
    layers,
    config: { Env: ['PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'], Entrypoint: entrypoint },
  })
  const server = (name: string) =>
    image(`registry.k8s.io/${name}:${kubernetes}`, ['base', 'kubernetes'], [`/usr/local/bin/${name}`])
  return [
    server('kube-apiserver'),
    server('kube-controller-manager'),
    server('kube-scheduler'),
    image(`registry.k8s.io/kube-proxy:${kubernetes}`, ['base', 'kubernetes', 'iptables-nft'], []),
    image('registry.k8s.io/coredns/coredns:v1.14.6', ['base', 'coredns'], ['/coredns']),
    image('registry.k8s.io/etcd:3.7.0-0', ['base', 'etcd'], ['/usr/local/bin/etcd']),
    image('registry.k8s.io/pause:3.10', ['pause'], ['/pause']),
    image(ownImages.network, ['base', 'network', 'iptables-nft'], ['/bin/mayfly-node', 'network']),
    image(ownImages.localPathProvisioner, ['base', 'local-path'], ['/bin/local-path-provisioner']),
    image(ownImages.localPathHelper, ['base', 'shell'], ['/bin/sh']),
  ]
}

/**
 * Builds it.
 *
 * @param from A node image of ours
 * @param kubernetes The version in it
 */
export async function buildKindestImage(
  engine: Engine,
  reference: string,
  { from, kubernetes }: { from: string; kubernetes: string },
): Promise<void> {
  const files = await kindFiles()
  const entries = await readdir(files, { recursive: true, withFileTypes: true })
  const ofKind = entries
    .filter((entry) => entry.isFile())
    .map(async (entry): Promise<ContainerFile> => {
      const path = join(entry.parentPath, entry.name)
      return { path: `/kind${path.slice(files.length)}`, content: await readFile(path) }
    })
  const dockerfile = [
    `FROM ${from}`,
    'COPY kind/ /',
    'COPY layout.sh images.json /',
    'RUN ["sh", "/layout.sh"]',
    'LABEL io.mayfly.node-image= io.mayfly.kubernetes= io.mayfly.base-snapshot= io.mayfly.content=',
    'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]',
  ].join('\n')
  await buildImageFrom(
    engine,
    [
      { path: '/Dockerfile', content: dockerfile },
      { path: '/layout.sh', content: await readFile(join(here, 'layout.sh')) },
      { path: '/images.json', content: JSON.stringify(coreImages(kubernetes)) },
      ...(await Promise.all(ofKind)),
    ],
    reference,
  )
}
