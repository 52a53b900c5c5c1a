import { Command } from 'commander'
import { getCluster } from '../../cluster/index.ts'
import type { ImageSource } from '../../images/index.ts'
import { defaultName, splitList } from './names.ts'

interface LoadFlags {
  name: string
  nodes?: string[]
}

/** `mayfly load …` */
export function loadCommand(): Command {
  return new Command('load')
    .description('load images into nodes: docker-image, image-archive')
    .addCommand(
      withFlags(new Command('docker-image').description("load images of the container engine's into nodes"))
        .argument('<images...>')
        .action((images: string[], flags: LoadFlags) => load(images, flags)),
    )
    .addCommand(
      withFlags(new Command('image-archive').description('load the images of archives into nodes'))
        .argument('<archives...>')
        .action((archives: string[], flags: LoadFlags) =>
          load(
            archives.map((archive) => ({ archive })),
            flags,
          ),
        ),
    )
}

function withFlags(command: Command): Command {
  return command
    .option('-n, --name <name>', 'name of the cluster', defaultName)
    .option('--nodes <names>', 'only these nodes, separated by commas', splitList)
}

async function load(sources: readonly ImageSource[], { name, nodes }: LoadFlags): Promise<void> {
  await using cluster = await getCluster(name)
  const { images } = await cluster.loadImages(sources, { ...(nodes && { nodes }) })
  for (const { summary } of images) console.error(summary)
}
