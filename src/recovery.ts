// Run by `guichet admin recover`: opens a one-time enrollment of an admin directly in the database, although there are
// clients. Writes what it did as JSON to stdout, or why it could not to stderr, and ends with 0 or 1.
import { ConfigError, readDataLocation, removeDriverVariables } from './config.ts'
import { writeSecret } from './enrollment.ts'
import { systemClock, systemTimers } from './kernel/clock.ts'
import { systemRandomness } from './kernel/ids.ts'
import { createLog, errorTrace } from './kernel/log.ts'
import { createOutboundHttp } from './kernel/outbound-http.ts'
import { createWorld } from './kernel/world.ts'
import { createAdminEnrollment } from './modules/clients/index.ts'
import { createLedger } from './modules/ledger/index.ts'
import { openDatabase } from './storage/database.ts'
import { findRunningEmbeddedPostgres } from './storage/embedded-postgres.ts'
import { EmbeddedPostgresMissingError } from './storage/postgres-binaries.ts'
import { createSignals } from './storage/signals.ts'

async function recover(): Promise<{ secretFile: string; expiresAt: string }> {
  removeDriverVariables(process.env)
  const { databaseUrl, databaseDirectUrl, dataDir } = readDataLocation(process.env)
  const url =
    databaseDirectUrl ??
    databaseUrl ??
    (await findRunningEmbeddedPostgres({
      dataDir,
      randomness: systemRandomness,
      timers: systemTimers,
      print: () => undefined,
    }))
  if (url === undefined)
    throw new ConfigError([
      `DATABASE_URL: is not set, and no gateway with an embedded database runs on ${dataDir}: set it, or start the gateway first`,
    ])
  const log = createLog(
    'error',
    () => systemClock.now(),
    () => undefined,
  )
  const world = createWorld(log, createOutboundHttp({ allowLoopback: false, allowPlainHttp: false }))
  const database = openDatabase(url, 1)
  try {
    const signals = createSignals(database)
    const ledger = createLedger({ database, world })
    const enrollment = createAdminEnrollment({ database, world, ledger, signals, isBearerAllowed: false })
    const { secret, expiresAt } = await enrollment.recover()
    return { secretFile: writeSecret(dataDir, secret), expiresAt: expiresAt.toISOString() }
  } finally {
    await database.close()
    await world.http.close()
  }
}

try {
  process.stdout.write(`${JSON.stringify(await recover())}\n`)
} catch (error) {
  process.stderr.write(`${reasonOf(error)}\n`)
  process.exitCode = 1
}

/** For a person, and without what a driver puts into its messages. */
function reasonOf(error: unknown): string {
  if (error instanceof ConfigError) return error.problems.join('\n')
  if (error instanceof EmbeddedPostgresMissingError) return `DATABASE_URL: is not set, and ${error.message}: set it`
  const code: unknown = error instanceof Error ? Reflect.get(error, 'code') : undefined
  if (code === 'P2021')
    return 'the database has no table admin_enrollment: start the gateway of this version once, which adds it'
  if (code === 'EACCES' || code === 'EROFS')
    return 'GUICHET_DATA_DIR cannot be written to: set it to a folder of your own'
  return `the database at DATABASE_URL did not take the enrollment: ${errorTrace(error).split(' ')[0]}`
}
