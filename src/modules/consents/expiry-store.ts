import type { Database } from '../../storage/database.ts'
import { toConsent } from './consent-row.ts'
import type { Consent } from './model.ts'

interface IdRow {
  readonly id: string
}

/**
 * Consents that are due to end, oldest first. The status is a literal in each statement, because each index covers only rows of
 * one status.
 */
export const expiryStore = (database: Database) => ({
  /** PENDING consents that were created before this time, without these. */
  async findAbandoned(before: Date, limit: number, excludedIds: readonly string[]): Promise<Consent[]> {
    return byIds(
      database,
      await database.tables.$queryRaw<IdRow[]>`
        select id from consent where status = 'PENDING' and created_at < ${before} and id <> all(${[...excludedIds]})
        order by created_at, id limit ${limit}`,
    )
  },

  /** ACTIVE consents that have expired, without these. */
  async findExpired(now: Date, limit: number, excludedIds: readonly string[]): Promise<Consent[]> {
    return byIds(
      database,
      await database.tables.$queryRaw<IdRow[]>`
        select id from consent where status = 'ACTIVE' and expires_at <= ${now} and id <> all(${[...excludedIds]})
        order by expires_at, id limit ${limit}`,
    )
  },

  /** ACTIVE consents whose authorization code was not redeemed in time, without these. */
  async findUnredeemed(now: Date, limit: number, excludedIds: readonly string[]): Promise<Consent[]> {
    return byIds(
      database,
      await database.tables.$queryRaw<IdRow[]>`
        select id from consent where status = 'ACTIVE' and redeem_by < ${now} and id <> all(${[...excludedIds]})
        order by redeem_by limit ${limit}`,
    )
  },
})

/** The consents with these IDs, in the order of `rows`. */
async function byIds(database: Database, rows: readonly IdRow[]): Promise<Consent[]> {
  if (rows.length === 0) return []
  const found = await database.tables.consent.findMany({ where: { id: { in: rows.map(({ id }) => id) } } })
  const byId = new Map(found.map((row) => [row.id, toConsent(row)]))
  return rows.flatMap(({ id }) => byId.get(id) ?? [])
}
