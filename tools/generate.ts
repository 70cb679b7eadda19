// Generates src/generated: the Prisma client from prisma/schema.prisma and, if development packages are installed, the
// resolver types from schema.graphql, which are not needed at run time.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname, '..')

const prismaCommand = join(root, 'node_modules/prisma/build/index.js')
generatePrismaClient()

// Not installed with NODE_ENV=production or --omit=dev.
if (existsSync(join(root, 'node_modules/@graphql-codegen/cli'))) {
  const [{ generate }, { default: codegen }] = await Promise.all([
    import('@graphql-codegen/cli'),
    import('../codegen.ts'),
  ])
  await generate({ ...codegen, cwd: root, silent: true }, true)
}

function generatePrismaClient(): void {
  // `prisma generate` only checks that an engine binary exists, so any executable works if none was downloaded.
  const placeholderEngine = existsSync('/bin/true') ? '/bin/true' : '/usr/bin/true'
  const prisma = spawnSync(process.execPath, [prismaCommand, 'generate'], {
    cwd: root,
    env: {
      ...process.env,
      PRISMA_HIDE_UPDATE_MESSAGE: '1',
      PRISMA_SCHEMA_ENGINE_BINARY: process.env['PRISMA_SCHEMA_ENGINE_BINARY'] ?? placeholderEngine,
    },
    encoding: 'utf8',
  })
  if (prisma.status === 0) return
  process.stderr.write(prisma.stdout + prisma.stderr)
  process.exit(1)
}
