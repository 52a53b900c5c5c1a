import { randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { type Engine, loadImage, removeImage } from '../src/engine/index.ts'
import { dockerArchive, tar } from '../test/images/made-images.ts'

const names = {
  big: 'mayfly-bench/big:1',
  changed: 'mayfly-bench/big:2',
  small: 'mayfly-bench/small:1',
  otherBig: 'mayfly-bench/other-big:1',
  otherChanged: 'mayfly-bench/other-big:2',
  otherSmall: 'mayfly-bench/other-small:1',
} as const

/** What images are loaded; the `other` ones have nothing in common with those before. */
export type BenchImage = keyof typeof names

/** Images for loading, made in the engine when they are first asked for. */
export interface ImageShelf extends AsyncDisposable {
  /** Name of an image in the engine. */
  get(image: BenchImage): Promise<string>
}

/** Megabytes of each layer that both versions of a big image have. */
const bigLayers = [100, 100, 100]
const changingLayer = 3
const smallLayer = 5.8

/** Nothing in these images can be compressed. */
export function imageShelf(engine: Engine): ImageShelf {
  let filled: Promise<void> | undefined
  const fill = async () => {
    for (const [big, changed, small] of [
      [names.big, names.changed, names.small],
      [names.otherBig, names.otherChanged, names.otherSmall],
    ] as const) {
      const shared = await Promise.all(bigLayers.map((megabytes) => noise(megabytes)))
      const images = [
        { names: [big], layers: [...shared, await noise(changingLayer)] },
        { names: [changed], layers: [...shared, await noise(changingLayer)] },
        { names: [small], layers: [await noise(smallLayer)] },
      ]
      await loadImage(engine, Readable.from([await dockerArchive(images)]))
    }
  }
  return {
    async get(image) {
      filled ??= fill()
      await filled
      return names[image]
    },
    async [Symbol.asyncDispose]() {
      if (filled) await Promise.all(Object.values(names).map((name) => removeImage(engine, name)))
    },
  }
}

function noise(megabytes: number): Promise<Buffer> {
  return tar([{ path: `noise-${megabytes}`, content: randomBytes(megabytes * 1e6) }])
}
