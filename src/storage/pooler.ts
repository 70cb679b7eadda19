import pg from 'pg'
import { destroyConnection, DATABASE_TIMEOUTS, openSession, SESSION_SETTINGS, TIMEOUT_SETTINGS } from './session.ts'

const ROUNDS = 5
const SAMPLES = 8
/** An arbitrary number, the same in every process. */
const ROLE_SETTINGS_LOCK_ID = 72_707_371

/**
 * Whether a pooler shares sessions between clients, as PgBouncer does in transaction and statement mode. Detected by two open
 * connections that share a session, or by one that moves to another session.
 */
export async function hasSharedSessions(url: string): Promise<boolean> {
  const options = { responseTimeoutMs: DATABASE_TIMEOUTS.connect }
  const [first, second] = await Promise.all([openSession(url, options), openSession(url, options)])
  try {
    for (let round = 0; round < ROUNDS; round++) {
      const firstPid = await backendPidOf(first)
      await second.query('begin')
      const secondPid = await backendPidOf(second)
      if (secondPid === firstPid || (await backendPidOf(first)) !== firstPid) return true
      await second.query('rollback')
    }
    return false
  } catch (error) {
    // PgBouncer's error for `begin` in statement mode.
    if ((error as { code?: unknown }).code === '08P01') return true
    throw error
  } finally {
    destroyConnection(first)
    destroyConnection(second)
  }
}

const backendPidOf = async (client: pg.Client): Promise<number> =>
  (await client.query<{ pid: number }>('select pg_backend_pid() as pid')).rows[0]!.pid

/** All settings of our sessions. */
export const ALL_SESSION_SETTINGS = { ...SESSION_SETTINGS, ...TIMEOUT_SETTINGS }

/**
 * Makes the settings the role's defaults in its database: a pooler opens and shares sessions itself, so settings of a client
 * would be lost or affect other clients. Does nothing if the role may not change its defaults.
 */
export async function setRoleDefaults(url: string, settings: Readonly<Record<string, string>>): Promise<void> {
  const session = await openSession(url)
  try {
    // `reset_val` is the value that a session has without our own SET.
    const { rows } = await session.query<{ name: string; value: string; database: string }>(
      `select s.name, expected.value, current_database() as database
       from json_each_text($1) as expected (name, value) join pg_settings s on s.name = expected.name
       where s.reset_val is distinct from expected.value`,
      [JSON.stringify(settings)],
    )
    if (rows.length === 0) return
    await session.query('begin')
    await session.query(`select pg_advisory_xact_lock(${ROLE_SETTINGS_LOCK_ID})`)
    for (const { name, value, database } of rows)
      await session.query(
        `alter role current_user in database ${pg.escapeIdentifier(database)}
         set ${pg.escapeIdentifier(name)} to ${pg.escapeLiteral(value)}`,
      )
    await session.query('commit')
  } catch (error) {
    // insufficient_privilege: matters behind a pooler only, where `findWrongSettings` checks the sessions.
    if ((error as { code?: unknown }).code !== '42501') throw error
  } finally {
    destroyConnection(session)
  }
}

/**
 * Wrong settings of sessions behind a pooler, such as `TimeZone = Europe/Berlin`. Checks several sessions at once; empty if all
 * are correct.
 */
export async function findWrongSettings(url: string): Promise<string[]> {
  const found = await Promise.all(
    Array.from({ length: SAMPLES }, async () => {
      const session = await openSession(url)
      try {
        const { rows } = await session.query<{ name: string; setting: string }>(
          `select s.name, s.setting from json_each_text($1) as expected (name, value)
             join pg_settings s on s.name = expected.name, pg_sleep(0.05)
           where s.setting is distinct from expected.value`,
          [JSON.stringify(ALL_SESSION_SETTINGS)],
        )
        return rows.map(({ name, setting }) => `${name} = ${setting}`)
      } finally {
        destroyConnection(session)
      }
    }),
  )
  return [...new Set(found.flat())]
}
