import type { Transaction } from '../../kernel/transaction.ts'
import { deleteInBatches } from '../../storage/batch-delete.ts'
import { tablesIn, type Database } from '../../storage/database.ts'
import {
  EXACT_DISCLOSURES_PER_WINDOW,
  EMPTY_HISTORY,
  THRESHOLD_CHECKS_PER_WINDOW,
  windowStart,
  type DisclosureHistory,
} from './disclosure.ts'

/** An exact disclosure that is reserved against an account's limit. Its time also identifies it. */
export interface DisclosureReservation {
  readonly disclosureKey: string
  readonly at: Date
}

/**
 * The statement that reserves one exact disclosure at time $2 for each row of `source` ("disclosureKey", "exactType"; each key
 * once). None is reserved for a row if the limit is reached, or another type was disclosed, in the window that started at $3.
 * Rows are locked in the order of their keys, to prevent deadlocks. Of two concurrent statements, the second sees what the first
 * reserved.
 */
export const reserveExactSql = (source: string): string => `
    insert into disclosure as past (disclosure_key, exact_at, exact_type, updated_at)
    select "disclosureKey", array[$2::timestamptz], "exactType", $2 from ${source} order by 1
    on conflict (disclosure_key) do update set
      exact_at = ${withinWindowSql('past.exact_at')} || excluded.exact_at, exact_type = excluded.exact_type,
      updated_at = greatest(past.updated_at, $2)
      where cardinality(${withinWindowSql('past.exact_at')}) < case when past.exact_type = excluded.exact_type
        then ${EXACT_DISCLOSURES_PER_WINDOW} else 1 end
    returning disclosure_key`

/** The times that count in the window that started at $3. */
function withinWindowSql(times: string): string {
  return `array(select at from unnest(${times}) at where at > $3)`
}

const RESERVE_THRESHOLD = `
  insert into disclosure as past (disclosure_key, threshold_at, updated_at) values ($1, array[$2::timestamptz], $2::timestamptz)
  on conflict (disclosure_key) do update set
    threshold_at = ${withinWindowSql('past.threshold_at')} || excluded.threshold_at,
    updated_at = greatest(past.updated_at, excluded.updated_at)
    where cardinality(${withinWindowSql('past.threshold_at')}) < $4::int
  returning disclosure_key`

/** The times of a row without one that equals `at`. */
const withoutTimeSql = (times: string, at: string): string => `
  case when array_position(${times}, ${at}) is null then ${times} else
    ${times}[:array_position(${times}, ${at}) - 1] || ${times}[array_position(${times}, ${at}) + 1:] end`

const RELEASE_EXACT = `
  with unused as (select * from jsonb_to_recordset($1::jsonb) as one ("disclosureKey" text, at timestamptz)),
  locked as (
    select past.disclosure_key, unused.at from disclosure past join unused on past.disclosure_key = "disclosureKey"
    order by past.disclosure_key for update of past)
  update disclosure as past set exact_at = ${withoutTimeSql('past.exact_at', 'locked.at')}
  from locked where past.disclosure_key = locked.disclosure_key`

const RELEASE_THRESHOLD = `
  update disclosure as past set threshold_at = ${withoutTimeSql('past.threshold_at', '$2::timestamptz')}
  where disclosure_key = $1`

const FIND_HISTORIES =
  'select disclosure_key, exact_at, exact_type, threshold_at from disclosure where disclosure_key = any($1::text[])'

/**
 * Sets times in the future to the present. They were written while a clock was ahead, and would count for longer than a window.
 */
const CLAMP_FUTURE_TIMES = `
  update disclosure set
    exact_at = array(select least(at, $1) from unnest(exact_at) with ordinality as one (at, place) order by place),
    threshold_at = array(select least(at, $1) from unnest(threshold_at) with ordinality as one (at, place) order by place),
    line_changed_at = least(line_changed_at, $1),
    updated_at = $1
  where disclosure_key = any(array(
    select disclosure_key from disclosure where updated_at > $2 order by updated_at desc limit 1000 for update skip locked))`
/** More than the clocks of several machines differ by. */
const MAX_CLOCK_SKEW_MS = 60 * 60_000

interface DisclosureRow {
  disclosure_key: string
  exact_at: Date[]
  exact_type: string | null
  threshold_at: Date[]
}

const ascending = (times: readonly Date[]): Date[] => [...times].sort((one, other) => one.getTime() - other.getTime())

const toHistory = (row: DisclosureRow): DisclosureHistory => ({
  exactAt: ascending(row.exact_at),
  exactType: row.exact_type,
  thresholdAt: ascending(row.threshold_at),
})

/**
 * The times of disclosures of each account, without what was disclosed. A row outlives the consents of the account. A
 * disclosure is reserved in a single statement, so that concurrent requests cannot exceed the limit. Exact disclosures are
 * reserved by the statement that claims the snapshot (`reserveExactSql`).
 */
export const disclosureStore = (database: Database) => ({
  /** Reserves one comparison with a threshold at `now`. Returns false if the limit is reached. */
  async reserveThreshold(disclosureKey: string, now: Date): Promise<boolean> {
    const values = [disclosureKey, now, windowStart(now), THRESHOLD_CHECKS_PER_WINDOW]
    return (await database.query('disclosure-reserve-threshold', RESERVE_THRESHOLD, values)).length === 1
  },

  /** Releases reservations for exact balances that were not disclosed. */
  async releaseExact(reservations: readonly DisclosureReservation[]): Promise<void> {
    for (const batch of splitIntoUniqueKeyBatches(reservations, ({ disclosureKey }) => disclosureKey))
      await database.query('disclosure-release-exact', RELEASE_EXACT, [JSON.stringify(batch)])
  },

  /** Releases the reservation at `at` for a comparison that had no outcome. */
  async releaseThreshold(disclosureKey: string, at: Date): Promise<void> {
    await database.query('disclosure-release-threshold', RELEASE_THRESHOLD, [disclosureKey, at])
  },

  /**
   * Reserves the change of a line at `now`. Returns false if one was changed in the last 24 hours. Until the transaction ends, other
   * changes of the account wait.
   */
  async reserveLineChange(tx: Transaction, disclosureKey: string, now: Date): Promise<boolean> {
    const count = await tablesIn(tx).$executeRaw`
      insert into disclosure as past (disclosure_key, line_changed_at, updated_at) values (${disclosureKey}, ${now}, ${now})
      on conflict (disclosure_key) do update set line_changed_at = excluded.line_changed_at,
        updated_at = greatest(past.updated_at, excluded.updated_at)
        where coalesce(past.line_changed_at <= ${windowStart(now)}, true)`
    return count === 1
  },

  /** Counts the change of a line at `now`, whether or not one was changed before. */
  async recordLineChange(tx: Transaction, disclosureKey: string, now: Date): Promise<void> {
    await tablesIn(tx).$executeRaw`
      insert into disclosure as past (disclosure_key, line_changed_at, updated_at) values (${disclosureKey}, ${now}, ${now})
      on conflict (disclosure_key) do update set line_changed_at = greatest(past.line_changed_at, excluded.line_changed_at),
        updated_at = greatest(past.updated_at, excluded.updated_at)`
  },

  /** The histories of accounts, by key. */
  async findHistories(keys: readonly string[]): Promise<Map<string, DisclosureHistory>> {
    const rows = await database.query<DisclosureRow>('disclosure-find', FIND_HISTORIES, [keys])
    const found = new Map(rows.map((row) => [row.disclosure_key, toHistory(row)]))
    return new Map(keys.map((key) => [key, found.get(key) ?? EMPTY_HISTORY]))
  },

  /** Deletes all disclosures; returns of how many accounts. Only for a sandbox. */
  async reset(): Promise<number> {
    return (await database.query('disclosures-reset', 'delete from disclosure returning disclosure_key', [])).length
  },

  /** Deletes what no longer counts at `now`; returns how many rows. */
  async deleteExpired(now: Date): Promise<number> {
    await database.query('disclosure-clamp-future', CLAMP_FUTURE_TIMES, [
      now,
      new Date(now.getTime() + MAX_CLOCK_SKEW_MS),
    ])
    const where = 'updated_at <= $1'
    return deleteInBatches(database, { table: 'disclosure', where, orderBy: 'updated_at', values: [windowStart(now)] })
  },
})
/**
 * Adds what was disclosed of an account under `previousKey` to what was disclosed under `disclosureKey`. The row of
 * `previousKey` remains, for processes that still use it. If exact balances of different types were disclosed under the two
 * keys, the limit of the account is used up.
 */
export async function mergeHistories(tx: Transaction, previousKey: string, disclosureKey: string): Promise<void> {
  await tablesIn(tx).$executeRaw`
    insert into disclosure as known (disclosure_key, exact_at, exact_type, threshold_at, line_changed_at, updated_at)
    select ${disclosureKey}, exact_at, exact_type, threshold_at, line_changed_at, updated_at
    from disclosure where disclosure_key = ${previousKey}
    on conflict (disclosure_key) do update set
      exact_at = case when known.exact_type <> excluded.exact_type
        then array_fill(greatest(known.updated_at, excluded.updated_at), array[${EXACT_DISCLOSURES_PER_WINDOW}::int])
        else known.exact_at || excluded.exact_at end,
      exact_type = coalesce(known.exact_type, excluded.exact_type),
      threshold_at = known.threshold_at || excluded.threshold_at,
      line_changed_at = greatest(known.line_changed_at, excluded.line_changed_at),
      updated_at = greatest(known.updated_at, excluded.updated_at)`
}

/** The store of disclosures. */
export type DisclosureStore = ReturnType<typeof disclosureStore>

/** Splits items into as few batches as possible, so that no key occurs twice in a batch. `null` is not a key. */
export function splitIntoUniqueKeyBatches<T>(items: readonly T[], keyOf: (item: T) => string | null): T[][] {
  const batches: T[][] = []
  const occurrencesByKey = new Map<string, number>()
  for (const item of items) {
    const key = keyOf(item)
    const batchIndex = key === null ? 0 : (occurrencesByKey.get(key) ?? 0)
    if (key !== null) occurrencesByKey.set(key, batchIndex + 1)
    ;(batches[batchIndex] ??= []).push(item)
  }
  return batches
}
