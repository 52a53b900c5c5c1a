/** `npm run pack:mayfly-node`: puts the programs into the package that is about to be published. */
import { packMayflyNode } from './mayfly-node.ts'
import { architectures } from './recipe.ts'

for (const arch of architectures) await packMayflyNode(arch)
