import { defineConfig } from 'vitest/config'

// No day and no time may hang on where a server stands: the tests run far from UTC, and half an hour off.
process.env['TZ'] = 'America/St_Johns'

export default defineConfig({
  // Two copies of graphql in one process refuse each other's schemas.
  resolve: { alias: [{ find: /^graphql$/, replacement: 'graphql/index.js' }] },
  test: {
    // `npm run prove` runs the proof and nothing else; `npm test` the rest.
    include: process.env['GUICHET_PROVE'] ? ['test/proof/*.prove.ts'] : ['test/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    pool: 'forks',
    maxWorkers: 2,
    // A worker loads the gateway once and keeps it compiled: a test file leaves behind no timer, no spy and no variable.
    isolate: false,
    // Nothing is proven by a test that is cut off: on a machine with other work each takes many times as long.
    testTimeout: 180_000,
    hookTimeout: 180_000,
    expect: { poll: { timeout: 30_000 } },
  },
})
