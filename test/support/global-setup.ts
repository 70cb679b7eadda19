import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import type { TestProject } from 'vitest/node'
import { systemTimers } from '../../src/kernel/clock.ts'
import { systemRandomness } from '../../src/kernel/ids.ts'
import { startEmbeddedPostgres } from '../../src/storage/embedded-postgres.ts'
import { migrate } from '../../src/storage/migrate.ts'

declare module 'vitest' {
  export interface ProvidedContext {
    /** The server that all test databases are on, with the name of the migrated template. */
    serverUrl: string
    template: string
    /** The folder of the seeded gateways. */
    seededDir: string
  }
}

/** Names the run in the environment of every process that its tests start. */
const RUN_VARIABLE = 'GUICHET_TEST_RUN'

/** Ends the processes that failed tests have left behind, and names each. */
function endLeftovers(run: string): void {
  if (!existsSync('/proc')) return
  for (const pid of readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number))
    try {
      const environment = readFileSync(`/proc/${pid}/environ`, 'utf8')
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
      const isRunner = command.includes('vitest')
      if (pid === process.pid || isRunner || !environment.includes(`${RUN_VARIABLE}=${run}\0`)) continue
      // A gateway ends its own database on this signal.
      process.kill(pid, 'SIGTERM')
      process.stderr.write(`ended a process that a test left behind: ${command}\n`)
    } catch {
      // It has ended, or belongs to somebody else.
    }
}

/** One PostgreSQL for the run, embedded or the one that DATABASE_URL names, and one migrated database to clone. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const given = process.env['DATABASE_URL']
  const dataDir = mkdtempSync(join(tmpdir(), 'guichet-test-'))
  // Workers and the processes that tests start compile each module once for all.
  process.env['NODE_COMPILE_CACHE'] = join(dataDir, 'compile-cache')
  chmodSync(dataDir, 0o711)
  process.env[RUN_VARIABLE] = dataDir
  const server = given
    ? undefined
    : await startEmbeddedPostgres({
        dataDir,
        randomness: systemRandomness,
        timers: systemTimers,
        print: () => undefined,
      })
  const serverUrl = given ?? server!.url
  const template = `guichet_template_${process.pid}`
  const admin = new pg.Client({ connectionString: serverUrl })
  await admin.connect()
  // This server ends with the run, so that no test depends on what survives a power failure.
  if (server)
    for (const setting of ['full_page_writes', 'synchronous_commit'])
      await admin.query(`alter system set ${setting} = off`)
  if (server) await admin.query('select pg_reload_conf()')
  await admin.query(`create database ${template}`)
  const url = new URL(serverUrl)
  url.pathname = `/${template}`
  await migrate(url.href, join(import.meta.dirname, '../../prisma/migrations'))
  project.provide('serverUrl', serverUrl)
  project.provide('template', template)
  project.provide('seededDir', join(dataDir, 'seeded'))
  return async () => {
    const { rows } = await admin.query<{ name: string }>(
      'select datname as name from pg_database where starts_with(datname, $1)',
      [template],
    )
    for (const { name } of rows) await admin.query(`drop database if exists ${name} with (force)`)
    await admin.end()
    await server?.stop()
    endLeftovers(dataDir)
    rmSync(dataDir, { recursive: true, force: true })
  }
}
