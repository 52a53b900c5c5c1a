import { fileURLToPath } from 'node:url'
import type {} from 'vitest/config'
import type { Vite } from 'vitest/node'
import { requireNode } from '../node-version.ts'
import type { MayflyOptions } from '../session/index.ts'
import './provided-context.ts'
import { rememberOptions } from './plugin-options.ts'

export type { ImageSource } from '../images/index.ts'
export type { ManifestSource } from '../kube/index.ts'
export type { MayflyContext, MayflyOptions } from '../session/index.ts'

/** Pods take seconds to start, so Vitest's 5 s are no measure; in milliseconds. */
const testTimeoutMs = 60_000

/** Time for deleting clusters when a run is interrupted, in milliseconds. */
const teardownTimeoutMs = 60_000

const globalSetup = fileURLToPath(new URL(`./global-setup${extensionOf(import.meta.url)}`, import.meta.url))

/**
 * A cluster for the tests of a Vitest project: made before the first test, deleted after the last. Projects that ask for the
 * same cluster share it. In watch mode it is kept between reruns, and images and manifests that changed are brought to it; a
 * change of a manifest or of an image's archive has all tests run again.
 *
 * `testTimeout` and `hookTimeout` become 60 s where they are not set.
 *
 * @example
 * export default defineConfig({
 *   plugins: [mayfly({ nodes: ['control-plane', 'worker'], images: ['app:dev'], manifests: ['config'] })],
 * })
 * @public
 */
export function mayfly(options: MayflyOptions = {}): Vite.Plugin {
  requireNode()
  return {
    name: 'mayfly',
    config(user) {
      const { testTimeout = testTimeoutMs, hookTimeout = testTimeoutMs } = user.test ?? {}
      return { test: { testTimeout, hookTimeout } }
    },
    async configureVitest({ vitest, project }) {
      rememberOptions(project, options)
      // Vitest has resolved it to a list of files by now.
      const setups = project.config.globalSetup as string[]
      if (!setups.includes(globalSetup)) setups.push(globalSetup)
      vitest.config.teardownTimeout = Math.max(vitest.config.teardownTimeout, teardownTimeoutMs)
      if (vitest.config.watch) {
        // Most of the package is for the process that makes clusters, and a configuration is read more often than that.
        const { watchedPaths } = await import('../session/index.ts')
        const paths = await watchedPaths(options, project.config.root)
        vitest.config.forceRerunTriggers.push(...paths)
        vitest.vite.watcher.add(paths.map((path) => path.replace(/\/\*\*$/, '')))
      }
    },
  }
}

function extensionOf(url: string): string {
  return url.slice(url.lastIndexOf('.'))
}
