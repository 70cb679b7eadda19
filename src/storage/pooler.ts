import pg from 'pg'
import { destroyConnection, DATABASE_TIMEOUTS, openSession, SESSION_SETTINGS, TIMEOUT_SETTINGS } from './session.ts'

const ROUNDS = 5
const SAMPLES = 8
/** Any number, the same in every process. */
const ROLE_SETTINGS_LOCK_ID = 72_707_371

/**
 * Whether something between us and PostgreSQL hands one session to several clients, as PgBouncer does in transaction and
 * statement mode. Two open connections of ours then share a session, or one moves to another session meanwhile.
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
    // PgBouncer's answer to `begin` in statement mode.
    if ((error as { code?: unknown }).code === '08P01') return true
    throw error
  } finally {
    destroyConnection(first)
    destroyConnection(second)
  }
}

const backendPidOf = async (client: pg.Client): Promise<number> =>
  (await client.query<{ pid: number }>('select pg_backend_pid() as pid')).rows[0]!.pid

/** Every setting that a session of ours has. */
export const ALL_SESSION_SETTINGS = { ...SESSION_SETTINGS, ...TIMEOUT_SETTINGS }

/**
 * Makes the settings the defaults of the role at `url` in its database, which a role may do for itself: a pooler opens
 * sessions on its own, where what one client set is lost or is another's. Does nothing if the role may not.
 */
export async function setRoleDefaults(url: string, settings: Readonly<Record<string, string>>): Promise<void> {
  const session = await openSession(url)
  try {
    // The default of a session is what it would have without our own SET.
    const { rows } = await session.query<{ name: string; value: string; database: string }>(
      `select s.name, w.value, current_database() as database
       from json_each_text($1) as w (name, value) join pg_settings s on s.name = w.name
       where s.reset_val is distinct from w.value`,
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
    // Then it matters only behind a pooler, where the sessions are looked at.
    if ((error as { code?: unknown }).code !== '42501') throw error
  } finally {
    destroyConnection(session)
  }
}

/**
 * The settings that sessions behind a pooler have and must not have, such as `TimeZone = Europe/Berlin`. Looks at several
 * sessions at once; empty if all are as they should be.
 */
export async function findWrongSettings(url: string): Promise<string[]> {
  const found = await Promise.all(
    Array.from({ length: SAMPLES }, async () => {
      const session = await openSession(url)
      try {
        const { rows } = await session.query<{ name: string; setting: string }>(
          `select s.name, s.setting from json_each_text($1) as w (name, value) join pg_settings s on s.name = w.name,
             pg_sleep(0.05) where s.setting is distinct from w.value`,
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
