import { defineConfig, type TestProjectInlineConfiguration } from 'vitest/config'

/** Tests on real clusters. These are heavy and machines are small: one file at a time, after the unit tests. */
function onClusters(name: string, order: number, files: TestProjectInlineConfiguration['test']) {
  // A shared machine in CI may stall for longer than any wait allows; what fails twice is broken.
  const limits = { testTimeout: 300_000, hookTimeout: 300_000, retry: process.env['CI'] ? 1 : 0 }
  return { test: { name, ...limits, fileParallelism: false, sequence: { groupOrder: order }, ...files } }
}

export default defineConfig({
  test: {
    reporters: ['default', ['json', { outputFile: '.mayfly/results/vitest.json' }]],
    projects: [
      { test: { name: 'unit', include: ['test/**/*.unit.test.ts'] } },
      onClusters('kube', 1, {
        include: ['test/kube/*.e2e.test.ts'],
        globalSetup: ['test/kube/global-setup.ts'],
      }),
      onClusters('e2e', 2, { include: ['test/**/*.e2e.test.ts'], exclude: ['test/kube/**'] }),
    ],
  },
})
