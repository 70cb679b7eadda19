import { deleteInBatches } from '../../storage/batches.ts'
import type { Database } from '../../storage/database.ts'
import {
  AMOUNTS_PER_WINDOW,
  NOTHING_DISCLOSED,
  QUESTIONS_PER_WINDOW,
  windowStart,
  type Disclosed,
} from './disclosure.ts'

/** An amount that was taken of an account's limit: when, which also names it. */
export interface Charge {
  readonly disclosureKey: string
  readonly at: Date
}

/**
 * Takes an amount at $3 of the limit of each account of `wanted` ("disclosureKey", "amountType"; each key once), where one is
 * left of the window that began at $4 and no other kind was disclosed in it. In the order of the keys, or two statements could
 * wait for each other; where two come at once, the second sees what the first took.
 */
export const CHARGED = (wanted: string): string => `
    insert into disclosure as past (account_key, amounts_at, amount_type, changed_at)
    select "disclosureKey", array[$3::timestamptz], "amountType", $3 from ${wanted} order by 1
    on conflict (account_key) do update set
      amounts_at = ${within('past.amounts_at')} || excluded.amounts_at, amount_type = excluded.amount_type,
      changed_at = greatest(past.changed_at, $3)
      where cardinality(${within('past.amounts_at')}) < case when past.amount_type = excluded.amount_type
        then ${AMOUNTS_PER_WINDOW} else 1 end
    returning account_key`

/** Those of the times that count in the window that began at $4. */
function within(times: string): string {
  return `array(select at from unnest(${times}) at where at > $4)`
}

const TAKE_QUESTION = `
  insert into disclosure as past (account_key, questions_at, changed_at) values ($1, array[$3::timestamptz], $3::timestamptz)
  on conflict (account_key) do update set
    questions_at = ${within('past.questions_at')} || excluded.questions_at,
    changed_at = greatest(past.changed_at, excluded.changed_at)
    where cardinality(${within('past.questions_at')}) < $2::int
  returning account_key`

/** The times of a row without one of those at `at`. */
const without = (times: string, at: string): string => `
  case when array_position(${times}, ${at}) is null then ${times} else
    ${times}[:array_position(${times}, ${at}) - 1] || ${times}[array_position(${times}, ${at}) + 1:] end`

const GIVE_BACK_AMOUNTS = `
  with unused as (select * from jsonb_to_recordset($1::jsonb) as one ("disclosureKey" text, at timestamptz)),
  held as (
    select past.account_key, unused.at from disclosure past join unused on past.account_key = "disclosureKey"
    order by past.account_key for update of past)
  update disclosure as past set amounts_at = ${without('past.amounts_at', 'held.at')}
  from held where past.account_key = held.account_key`

const GIVE_BACK_QUESTION = `
  update disclosure as past set questions_at = ${without('past.questions_at', '$2::timestamptz')}
  where account_key = $1`

const FIND =
  'select account_key, amounts_at, amount_type, questions_at from disclosure where account_key = any($1::text[])'

/**
 * Rows of which nothing counts any more are deleted. Times that lie ahead, because a clock was ahead when they were written
 * and was put right since, would count for longer than a window: they become the present.
 */
const SETTLE = `
  update disclosure set
    amounts_at = array(select least(at, $1) from unnest(amounts_at) with ordinality as one (at, place) order by place),
    questions_at = array(select least(at, $1) from unnest(questions_at) with ordinality as one (at, place) order by place),
    changed_at = $1
  where account_key = any(array(
    select account_key from disclosure where changed_at > $2 order by changed_at desc limit 1000 for update skip locked))`
/** Clocks of several machines differ by less than this. */
const SKEW_MS = 60 * 60_000

interface Row {
  account_key: string
  amounts_at: Date[]
  amount_type: string | null
  questions_at: Date[]
}

const ascending = (times: readonly Date[]): Date[] => [...times].sort((one, other) => one.getTime() - other.getTime())

const toDisclosed = (row: Row): Disclosed => ({
  amounts: ascending(row.amounts_at),
  amountType: row.amount_type,
  questions: ascending(row.questions_at),
})

/**
 * When something was disclosed of each account, never what: whoever shares the account, under whatever id the bank gives
 * it, and longer than any consent. Takes are single statements, so that of many at once none goes over the limit; amounts
 * are taken with the claim on the snapshot that they are disclosed from.
 */
export const disclosureStore = (database: Database) => ({
  /** Takes one question of the limit at `now`; false where there is none left. */
  async takeQuestion(disclosureKey: string, now: Date): Promise<boolean> {
    const values = [disclosureKey, QUESTIONS_PER_WINDOW, now, windowStart(now)]
    return (await database.query('disclosure-question', TAKE_QUESTION, values)).length === 1
  },

  /** Gives back amounts that were taken and not disclosed, by the time at which they were taken. */
  async giveBackAmounts(unused: readonly Charge[]): Promise<void> {
    for (const round of roundsOf(unused, (one) => one.disclosureKey))
      await database.query('unused-amounts', GIVE_BACK_AMOUNTS, [JSON.stringify(round)])
  },

  /** Gives back a question that was taken at `at` and not answered. */
  async giveBackQuestion(disclosureKey: string, at: Date): Promise<void> {
    await database.query('unused-question', GIVE_BACK_QUESTION, [disclosureKey, at])
  },

  /** What was disclosed of each account. */
  async disclosed(keys: readonly string[]): Promise<Map<string, Disclosed>> {
    const rows = await database.query<Row>('disclosures', FIND, [keys])
    const found = new Map(rows.map((row) => [row.account_key, toDisclosed(row)]))
    return new Map(keys.map((key) => [key, found.get(key) ?? NOTHING_DISCLOSED]))
  },

  /** Forgets everything that was disclosed; returns of how many accounts. For a sandbox only. */
  async reset(): Promise<number> {
    return (await database.query('disclosures-reset', 'delete from disclosure returning account_key', [])).length
  },

  /** Deletes what no longer counts at `now`; returns how many rows. */
  async sweep(now: Date): Promise<number> {
    await database.query('disclosures-ahead', SETTLE, [now, new Date(now.getTime() + SKEW_MS)])
    const where = 'changed_at <= $1'
    return deleteInBatches(database, { table: 'disclosure', where, orderBy: 'changed_at', values: [windowStart(now)] })
  },
})
/** The store as `snapshots.ts` takes it. */
export type DisclosureStore = ReturnType<typeof disclosureStore>

/** The same items in as few rounds as it takes for no key to come twice in one; `null` is no key. */
export function roundsOf<T>(items: readonly T[], keyOf: (item: T) => string | null): T[][] {
  const rounds: T[][] = []
  const uses = new Map<string, number>()
  for (const item of items) {
    const key = keyOf(item)
    const round = key === null ? 0 : (uses.get(key) ?? 0)
    if (key !== null) uses.set(key, round + 1)
    ;(rounds[round] ??= []).push(item)
  }
  return rounds
}
