// Writes src/generated: the Prisma client from prisma/schema.prisma and the resolver types from schema.graphql.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { generate as generateGraphql } from '@graphql-codegen/cli'
import codegen from '../codegen.ts'

const root = join(import.meta.dirname, '..')

// `prisma generate` only asks whether an engine binary exists; where none was downloaded, any executable will do.
const engineStandIn = existsSync('/bin/true') ? '/bin/true' : '/usr/bin/true'
const prisma = spawnSync(process.execPath, [join(root, 'node_modules/prisma/build/index.js'), 'generate'], {
  cwd: root,
  env: {
    ...process.env,
    PRISMA_HIDE_UPDATE_MESSAGE: '1',
    PRISMA_SCHEMA_ENGINE_BINARY: process.env['PRISMA_SCHEMA_ENGINE_BINARY'] ?? engineStandIn,
  },
  encoding: 'utf8',
})
if (prisma.status !== 0) {
  process.stderr.write(prisma.stdout + prisma.stderr)
  process.exit(1)
}

await generateGraphql({ ...codegen, cwd: root, silent: true }, true)
