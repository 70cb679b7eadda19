// `new NAME` writes the next migration from prisma/schema.prisma; `drift` fails when migrations and schema disagree.
// Prisma's own CLI does the work; where its native engine cannot be had, tools/schema-engine.mjs stands in for it.
import { spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname, '..')
const migrations = join(root, 'prisma/migrations')
const [verb, name] = process.argv.slice(2)

function diff(extra: string[]) {
  return spawnSync(
    process.execPath,
    [
      join(root, 'node_modules/prisma/build/index.js'),
      'migrate',
      'diff',
      '--from-migrations',
      migrations,
      '--to-schema',
      join(root, 'prisma/schema.prisma'),
      ...extra,
    ],
    {
      cwd: root,
      encoding: 'utf8',
      env: {
        ...process.env,
        SE_MEMORY: '1',
        DATABASE_URL: 'pglite:memory',
        PRISMA_HIDE_UPDATE_MESSAGE: '1',
        PRISMA_SCHEMA_ENGINE_BINARY:
          process.env['PRISMA_SCHEMA_ENGINE_BINARY'] ?? join(root, 'tools/schema-engine.mjs'),
      },
    },
  )
}

mkdirSync(migrations, { recursive: true })
if (verb === 'drift') {
  const result = diff(['--exit-code'])
  if (result.status !== 0) {
    process.stderr.write(
      `${result.stdout}${result.stderr}\nThe migrations do not give prisma/schema.prisma: npm run migrate:new -- NAME\n`,
    )
    process.exit(1)
  }
  process.stdout.write('migrations and schema agree\n')
} else if (verb === 'new' && name && /^[a-z_]+$/.test(name)) {
  const result = diff(['--script'])
  if (result.status !== 0) {
    process.stderr.write(result.stdout + result.stderr)
    process.exit(1)
  }
  const folder = join(migrations, `${new Date().toISOString().replace(/\D/g, '').slice(0, 14)}_${name}`)
  mkdirSync(folder)
  writeFileSync(join(folder, 'migration.sql'), result.stdout)
  process.stdout.write(`${folder}\n`)
} else {
  process.stderr.write('usage: node tools/migration.ts drift | new name_in_snake_case\n')
  process.exit(2)
}
