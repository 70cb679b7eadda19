import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'

// No result may depend on a server's time zone: the tests run in one that is far from UTC, by a number of hours and a half.
process.env['TZ'] = 'America/St_Johns'

export default defineConfig({
  // Two copies of graphql in one process refuse each other's schemas.
  resolve: { alias: [{ find: /^graphql$/, replacement: 'graphql/index.js' }] },
  test: {
    // `npm run prove` runs the proof and nothing else; `npm test` the rest.
    include: process.env['GUICHET_PROVE'] ? ['test/proof/*.prove.ts'] : ['test/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    pool: 'forks',
    // Tests of processes mostly wait, so twice as many files as cores run at once; more than eight would use too much memory.
    // A server that is not the run's own often has connections for no more than two.
    maxWorkers: process.env['DATABASE_URL'] ? 2 : Math.min(8, 2 * availableParallelism()),
    // A worker loads the gateway once for all of its files, so no file may leave a timer, a spy or a variable behind.
    isolate: false,
    // On a busy machine a test takes many times as long, and a test that times out proves nothing.
    testTimeout: 180_000,
    hookTimeout: 180_000,
    expect: { poll: { timeout: 90_000 } },
  },
})
