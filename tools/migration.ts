// `new NAME` writes the next migration from prisma/schema.prisma. `lock` adds it to prisma/migrations.lock, after which it may
// not change, and to the states that upgrades are tested from. `drift` fails if migrations and schema differ.
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { diffSchema } from './schema-diff.ts'

const root = join(import.meta.dirname, '..')
const migrations = join(root, 'prisma/migrations')
const lockFile = join(root, 'prisma/migrations.lock')
const statesFile = join(root, 'test/support/migrations/states.txt')
const [action, name] = process.argv.slice(2)

const computeChecksum = (file: string): string => createHash('sha256').update(readFileSync(file, 'utf8')).digest('hex')

mkdirSync(migrations, { recursive: true })
if (action === 'drift') {
  const sql = await diffSchema()
  if (sql !== '') {
    process.stderr.write(
      `${sql}\nThe migrations do not produce prisma/schema.prisma; run: npm run migrate:new -- NAME\n`,
    )
    process.exit(1)
  }
  process.stdout.write('migrations and schema agree\n')
} else if (action === 'new' && name && /^[a-z_]+$/.test(name)) {
  const sql = await diffSchema()
  const folder = join(migrations, `${new Date().toISOString().replace(/\D/g, '').slice(0, 14)}_${name}`)
  mkdirSync(folder)
  writeFileSync(join(folder, 'migration.sql'), sql)
  process.stdout.write(`${folder}\nWhen the migration is final, run: npm run migrate:lock\n`)
} else if (action === 'lock') {
  // Locked entries never change: lines are only added.
  const locked = existsSync(lockFile) ? readFileSync(lockFile, 'utf8').split('\n').filter(Boolean) : []
  const names = new Set(locked.map((line) => line.split('  ')[1]))
  const addedLines = readdirSync(migrations, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && !names.has(entry.name))
    .map((entry) => `${computeChecksum(join(migrations, entry.name, 'migration.sql'))}  ${entry.name}`)
  const lines = [...locked, ...addedLines].sort((a, b) => (a.slice(66) < b.slice(66) ? -1 : 1))
  const state = `${lines.join('\n')}\n`
  writeFileSync(lockFile, state)
  const states = readFileSync(statesFile, 'utf8').trim().split('\n\n')
  if (!states.includes(state.trim())) writeFileSync(statesFile, [...states, state].join('\n\n'))
  process.stdout.write(`${addedLines.length} added\n`)
} else {
  process.stderr.write('usage: node tools/migration.ts drift | lock | new name_in_snake_case\n')
  process.exit(2)
}
