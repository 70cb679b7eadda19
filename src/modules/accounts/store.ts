import type { Database } from '../../storage/database.ts'
import type { Seal } from '../../storage/seal.ts'
import { AMOUNTS_PER_DAY, NOTHING_TOLD, QUESTIONS_PER_DAY, type Told } from './disclosure.ts'
import type { Snapshot } from './model.ts'

type Kept = Pick<Snapshot, 'balances' | 'untrusted' | 'bands' | 'toldType'>

/** A wish for a snapshot that was fetched after a time. */
export interface Wanted {
  readonly bankAccount: string
  readonly freshAfter: Date
}

/** What is kept of a bank account, and whether whoever asks may, and must, look at the bank. */
export interface Claim {
  readonly snapshot: Snapshot | undefined
  readonly isMine: boolean
}

interface KeptRow {
  bank_account: string
  sealed: string
  fetched_at: Date
}

const FIND = 'select bank_account, sealed, fetched_at from snapshot where bank_account = any($1::text[])'

/** Of two claims at once the row decides: the second sees what the first kept, whatever its own statement saw before. */
const CLAIM = `
  with wanted as (
    select * from jsonb_to_recordset($1::jsonb) as one ("bankAccount" text, "freshAfter" timestamptz)),
  kept as (
    select "bankAccount" as bank_account, "freshAfter" as fresh_after, sealed, fetched_at
    from wanted left join snapshot on bank_account = "bankAccount"),
  mine as (
    insert into snapshot_claim as known (bank_account, until)
    select distinct bank_account, $2::timestamptz from kept
    where fetched_at is null or fetched_at <= fresh_after order by bank_account
    on conflict (bank_account) do update set until = excluded.until
      where known.until <= $3 and not exists (
        select 1 from wanted where "bankAccount" = known.bank_account and known.kept_at > "freshAfter")
    returning bank_account)
  select kept.bank_account, sealed, fetched_at, mine.bank_account is not null as is_mine
  from kept left join mine on mine.bank_account = kept.bank_account`

const KEEP = `
  with seen as (
    select * from jsonb_to_recordset($1::jsonb) as one ("bankAccount" text, sealed text, "fetchedAt" timestamptz)),
  kept as (
    insert into snapshot (bank_account, sealed, fetched_at)
    select "bankAccount", sealed, "fetchedAt" from seen
    where exists (
      select 1 from account join consent_account shared on shared.account_id = account.id
      join consent on consent.id = shared.consent_id
      where account.bank_id = split_part("bankAccount", '/', 1)
        and account.ref_digest = split_part("bankAccount", '/', 2) and consent.state = 'ACTIVE')
    order by "bankAccount"
    on conflict (bank_account) do update set sealed = excluded.sealed, fetched_at = excluded.fetched_at
    returning bank_account)
  update snapshot_claim as mine set until = $2,
    kept_at = case when exists (select 1 from kept where kept.bank_account = mine.bank_account) then "fetchedAt" end
  from seen where mine.bank_account = "bankAccount"`

const TAKE_AMOUNTS = `
  insert into disclosure_day as told (bank_account, day, amount_count, amount_type)
  select "bankAccount", $2::date, 1, type
  from jsonb_to_recordset($1::jsonb) as one ("bankAccount" text, type text)
  order by "bankAccount"
  on conflict (bank_account, day) do update
    set amount_count = told.amount_count + 1, amount_type = excluded.amount_type
    where told.amount_count < ${AMOUNTS_PER_DAY} and coalesce(told.amount_type, excluded.amount_type) = excluded.amount_type
  returning bank_account`

interface ClaimRow {
  bank_account: string
  sealed: string | null
  fetched_at: Date | null
  is_mine: boolean
}

/** The newest balances of each bank account, sealed; writing one overwrites the one before. */
export const snapshotStore = (database: Database, seal: Seal) => {
  const opened = async (bankAccount: string, sealed: string, fetchedAt: Date): Promise<Snapshot> => {
    const kept = (await seal.open(`snapshot:${bankAccount}`, sealed)) as Kept
    return { ...kept, fetchedAt }
  }

  return {
    async find(bankAccounts: readonly string[]): Promise<(Snapshot | undefined)[]> {
      const rows = await database.remember<KeptRow>('snapshots', FIND, [bankAccounts])
      const found = new Map(rows.map((row) => [row.bank_account, row]))
      return Promise.all(
        bankAccounts.map(async (id) => {
          const row = found.get(id)
          return row && (await opened(id, row.sealed, row.fetched_at))
        }),
      )
    },

    /**
     * What is kept of each, and a claim on those that are too old and that nobody is looking at just now, of this or any
     * other process. Of two at once one gets it; the other finds the new snapshot when it asks again.
     */
    async claim(wanted: readonly Wanted[], now: Date, until: Date): Promise<Claim[]> {
      const rows = await database.remember<ClaimRow>('snapshot-claims', CLAIM, [JSON.stringify(wanted), until, now])
      const found = new Map(rows.map((row) => [row.bank_account, row]))
      return Promise.all(
        wanted.map(async ({ bankAccount }) => {
          const { sealed, fetched_at, is_mine } = found.get(bankAccount)!
          const snapshot = sealed && fetched_at ? await opened(bankAccount, sealed, fetched_at) : undefined
          return { snapshot, isMine: is_mine }
        }),
      )
    },

    /** Keeps what was seen and lets go of the claim. What comes back after the customer stopped sharing is not kept. */
    async keep(seen: readonly { bankAccount: string; snapshot: Snapshot }[], now: Date): Promise<void> {
      const rows = await Promise.all(
        seen.map(async ({ bankAccount, snapshot: { balances, untrusted, bands, toldType, fetchedAt } }) => ({
          bankAccount,
          fetchedAt,
          sealed: await seal.seal(`snapshot:${bankAccount}`, { balances, untrusted, bands, toldType } satisfies Kept),
        })),
      )
      await database.remember('snapshot-keeps', KEEP, [JSON.stringify(rows), now])
    },

    /** Lets go of claims that came to nothing, so that the next who asks may try. */
    async release(bankAccounts: readonly string[], now: Date): Promise<void> {
      await database.tables.$executeRaw`
        update snapshot_claim set until = ${now} where bank_account = any(${[...bankAccounts]})`
    },

    async sweepClaims(before: Date): Promise<number> {
      return (await database.tables.snapshotClaim.deleteMany({ where: { until: { lt: before } } })).count
    },
  }
}

interface ToldRow {
  bank_account: string
  amount_count: number
  amount_type: string | null
  question_count: number
}

const toTold = (row: ToldRow): Told => ({
  amounts: row.amount_count,
  amountType: row.amount_type,
  questions: row.question_count,
})

/** What was told of each bank account on each day, whoever shares it. Takes are single statements, so that of many at once none goes over. */
export const disclosureStore = (database: Database) => ({
  /** Takes one amount of the day's for each account, each named once; false where none is left, or another kind was told. */
  async takeAmounts(asked: readonly { bankAccount: string; type: string }[], day: Date): Promise<boolean[]> {
    // As text: the driver would write a Date in the server's own zone, where the day may be another.
    const values = [JSON.stringify(asked), day.toISOString().slice(0, 10)]
    const taken = await database.query<{ bank_account: string }>('amounts', TAKE_AMOUNTS, values)
    const ids = new Set(taken.map((row) => row.bank_account))
    return asked.map(({ bankAccount }) => ids.has(bankAccount))
  },

  /** Takes one question of the day's; false where there is none left. */
  async takeQuestion(bankAccount: string, day: Date): Promise<boolean> {
    const taken = await database.tables.$executeRaw`
      insert into disclosure_day as told (bank_account, day, question_count) values (${bankAccount}, ${day}::date, 1)
      on conflict (bank_account, day) do update set question_count = told.question_count + 1
        where told.question_count < ${QUESTIONS_PER_DAY}`
    return taken === 1
  },

  /** Gives back what was taken and not told. The kind of balance stays chosen only where an amount of it was told. */
  async giveBack(bankAccount: string, day: Date, what: 'AMOUNT' | 'QUESTION'): Promise<void> {
    await (what === 'AMOUNT'
      ? database.tables.$executeRaw`
          update disclosure_day set amount_count = amount_count - 1,
            amount_type = case when amount_count > 1 then amount_type end
          where bank_account = ${bankAccount} and day = ${day}::date and amount_count > 0`
      : database.tables.$executeRaw`
          update disclosure_day set question_count = question_count - 1
          where bank_account = ${bankAccount} and day = ${day}::date and question_count > 0`)
  },

  /** What each account has told on the day. */
  async told(bankAccounts: readonly string[], day: Date): Promise<Map<string, Told>> {
    const rows = await database.tables.$queryRaw<ToldRow[]>`
      select bank_account, amount_count, amount_type, question_count from disclosure_day
      where bank_account = any(${[...bankAccounts]}) and day = ${day}::date`
    const found = new Map(rows.map((row) => [row.bank_account, toTold(row)]))
    return new Map(bankAccounts.map((id) => [id, found.get(id) ?? NOTHING_TOLD]))
  },

  async sweep(before: Date): Promise<number> {
    return (await database.tables.disclosureDay.deleteMany({ where: { day: { lt: before } } })).count
  },
})
