import { Command, Option } from 'commander'
import {
  billOfMaterials,
  buildNodeImage,
  kubernetesVersions,
  materialsTable,
} from '../../node-image/index.ts'

/** `mayfly build …` */
export function buildCommand(): Command {
  return new Command('build').description('build what clusters are made of').addCommand(nodeImageCommand())
}

interface NodeImageFlags {
  kubernetes?: string
  source?: string
  unchanged?: true
  image?: string
  arch?: 'amd64' | 'arm64'
  billOfMaterials?: true
  json?: true
}

function nodeImageCommand(): Command {
  return new Command('node-image')
    .description('build a node image from source and load it into the container engine')
    .option(
      '--kubernetes <version>',
      `Kubernetes version: ${kubernetesVersions.join(', ')} (default: ${kubernetesVersions[0]})`,
    )
    .option('--source <dir>', 'build Kubernetes from a source checkout instead of published modules')
    .option(
      '--unchanged',
      'Kubernetes as it is, without mayfly’s changes that shorten waits; clusters boot slower',
    )
    .option('--image <name>', 'name of the image (default: mayfly/node:<version>)')
    .addOption(
      new Option('--arch <name>', 'processor architecture (default: this machine’s)').choices([
        'amd64',
        'arm64',
      ]),
    )
    .option(
      '--bill-of-materials',
      'build nothing; list what the image is made of, with versions and licences',
    )
    .option('--json', 'print the result as JSON')
    .action(async ({ billOfMaterials: listOnly, json, ...options }: NodeImageFlags) => {
      const result = listOnly ? await billOfMaterials(options) : await buildNodeImage(options)
      if (json) console.log(JSON.stringify(result, undefined, 2))
      else console.log(Array.isArray(result) ? materialsTable(result) : result.reference)
    })
}
