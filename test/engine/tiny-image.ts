import { existsSync, readFileSync } from 'node:fs'
import { Readable } from 'node:stream'
import { pack } from 'tar-stream'
import { type Engine, imageExists, importImage } from '../../src/engine/index.ts'

/** A 2 MB image with BusyBox that sleeps until it is killed. */
export const tinyImage = 'mayfly-test/tiny:1'

const applets =
  'cat cut dd echo env false head id ls mount nslookup ping seq sh sleep stat touch true wc yes'.split(' ')

/** Makes {@link tinyImage} out of this machine's static BusyBox (Debian and Ubuntu: `busybox-static`). */
export async function ensureTinyImage(engine: Engine): Promise<void> {
  if (await imageExists(engine, tinyImage)) return
  const busybox = ['/bin/busybox', '/usr/bin/busybox'].find((file) => existsSync(file))
  if (!busybox) throw new Error('These tests need a static BusyBox: apt-get install busybox-static')
  const rootFileSystem = pack()
  rootFileSystem.entry({ name: 'bin/busybox', mode: 0o755 }, readFileSync(busybox))
  for (const applet of applets) {
    rootFileSystem.entry({ name: `bin/${applet}`, type: 'symlink', linkname: 'busybox' })
  }
  rootFileSystem.entry({ name: 'data', type: 'directory', mode: 0o755 })
  rootFileSystem.entry({ name: 'data/from-image', mode: 0o644 }, 'from the image')
  rootFileSystem.entry({ name: 'tmp', type: 'directory', mode: 0o1777 })
  rootFileSystem.finalize()
  await importImage(engine, Readable.from(rootFileSystem), tinyImage, {
    changes: ['CMD ["/bin/sleep","1000000"]'],
  })
}
