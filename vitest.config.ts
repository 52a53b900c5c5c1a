import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    reporters: ['default', ['json', { outputFile: '.mayfly/results/vitest.json' }]],
    projects: [
      { test: { name: 'unit', include: ['test/**/*.unit.test.ts'] } },
      {
        test: {
          name: 'e2e',
          include: ['test/**/*.e2e.test.ts'],
          testTimeout: 300_000,
          hookTimeout: 300_000,
          // Clusters are heavy and machines are small: one file at a time.
          fileParallelism: false,
          // After the unit tests, which are over in seconds.
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
})
