import type { BalanceType } from '../../kernel/bank-vocabulary.ts'
import type { Database } from '../../storage/database.ts'
import type { Seal } from '../../storage/seal.ts'
import { AMOUNTS_PER_DAY, NOTHING_TOLD, QUESTIONS_PER_DAY, type Told } from './disclosure.ts'
import type { Snapshot } from './model.ts'

type Kept = Pick<Snapshot, 'balances' | 'untrusted' | 'bands'>

/** A wish for a snapshot that was fetched after a time. */
export interface Wanted {
  readonly bankAccount: string
  readonly freshAfter: Date
  /** The day (UTC) that an amount counts in. */
  readonly day: Date
  /** An amount of this kind is to be told of it, and counts against the day's unless it was told already. */
  readonly amountType: BalanceType | null
}

/** What is kept of a bank account, and what whoever asks may do about it. */
export interface Claim {
  readonly snapshot: Snapshot | undefined
  /** Whether they may, and must, look at the bank. */
  readonly isMine: boolean
  /** Whether an amount was taken of the day's. */
  readonly isCharged: boolean
}

interface SnapshotRow {
  bank_account: string
  sealed: string | null
  fetched_at: Date | null
  told_type: string | null
}
interface ClaimRow extends SnapshotRow {
  is_mine: boolean
  is_charged: boolean
}

const FIND = 'select bank_account, sealed, fetched_at, told_type from snapshot where bank_account = any($1::text[])'

/**
 * Takes an amount of the day's where one is to be told that was not told from what is kept, and claims what is too old.
 * Of two at once the row decides: the second sees what the first kept, whatever its own statement saw before.
 */
const CLAIM = `
  with wanted as (
    select * from jsonb_to_recordset($1::jsonb) as one (
      "bankAccount" text, "freshAfter" timestamptz, day date, "amountType" text)),
  kept as (
    select wanted.*, sealed, fetched_at, told_type, coalesce(fetched_at > "freshAfter", false) as is_fresh
    from wanted left join snapshot on bank_account = "bankAccount"),
  charged as (
    insert into disclosure_day as told (bank_account, day, amount_count, amount_type)
    select "bankAccount", kept.day, 1, "amountType" from kept
    where "amountType" is not null and not (is_fresh and told_type is not distinct from "amountType")
    order by "bankAccount"
    on conflict (bank_account, day) do update
      set amount_count = told.amount_count + 1, amount_type = excluded.amount_type
      where told.amount_count < ${AMOUNTS_PER_DAY}
        and coalesce(told.amount_type, excluded.amount_type) = excluded.amount_type
    returning bank_account),
  mine as (
    insert into snapshot as known (bank_account, claimed_until)
    select "bankAccount", $2::timestamptz from kept
    where not is_fresh and ("amountType" is null or "bankAccount" in (select bank_account from charged))
    order by "bankAccount"
    on conflict (bank_account) do update set claimed_until = excluded.claimed_until
      where coalesce(known.claimed_until <= $3, true) and not exists (
        select 1 from wanted where "bankAccount" = known.bank_account and known.fetched_at > "freshAfter")
    returning bank_account)
  select "bankAccount" as bank_account, sealed, fetched_at, told_type,
    mine.bank_account is not null as is_mine, charged.bank_account is not null as is_charged
  from kept left join mine on mine.bank_account = "bankAccount" left join charged on charged.bank_account = "bankAccount"`

/** The newest wins, and only whoever looked lets go of a claim. In the order of the rows, as claims are, or two could wait for each other. */
const KEEP = `
  with seen as (
    select * from jsonb_to_recordset($1::jsonb)
      as one ("bankAccount" text, sealed text, "fetchedAt" timestamptz, "toldType" text)),
  held as (
    select bank_account from snapshot where bank_account in (select "bankAccount" from seen)
    order by bank_account for update)
  update snapshot as known set sealed = seen.sealed, fetched_at = "fetchedAt", told_type = "toldType",
    claimed_until = case when known.fetched_at = "fetchedAt" then known.claimed_until end
  from seen join held on bank_account = "bankAccount"
  where known.bank_account = "bankAccount" and coalesce(known.fetched_at <= "fetchedAt", true) and exists (
    select 1 from account join consent_account shared on shared.account_id = account.id
    join consent on consent.id = shared.consent_id
    where account.bank_id = split_part("bankAccount", '/', 1)
      and account.ref_digest = split_part("bankAccount", '/', 2) and consent.state = 'ACTIVE')`

const RELEASE = `
  with held as (
    select bank_account from snapshot where bank_account = any($1::text[]) order by bank_account for update)
  update snapshot as known set claimed_until = null from held where known.bank_account = held.bank_account`

const GIVE_BACK = `
  with unused as (select * from jsonb_to_recordset($1::jsonb) as one ("bankAccount" text, day date)),
  held as (
    select told.bank_account, told.day from disclosure_day told
    join unused on told.bank_account = "bankAccount" and told.day = unused.day
    order by told.bank_account for update of told)
  update disclosure_day as told
  set amount_count = amount_count - 1, amount_type = case when amount_count > 1 then amount_type end
  from held where told.bank_account = held.bank_account and told.day = held.day and amount_count > 0`

/** The newest balances of each bank account, sealed; writing one overwrites the one before. */
export const snapshotStore = (database: Database, seal: Seal) => {
  async function open({ bank_account, sealed, fetched_at, told_type }: SnapshotRow): Promise<Snapshot> {
    const kept = (await seal.open(`snapshot:${bank_account}`, sealed!)) as Kept
    return { ...kept, fetchedAt: fetched_at!, toldType: told_type as BalanceType | null }
  }

  /** In the order of the rows; of most that are looked at nothing is kept, and nothing is waited for. */
  async function opened(rows: readonly (SnapshotRow | undefined)[]): Promise<(Snapshot | undefined)[]> {
    const snapshots = rows.map((): Snapshot | undefined => undefined)
    const opening = rows.map((row, index) =>
      row?.sealed ? open(row).then((snapshot) => (snapshots[index] = snapshot)) : undefined,
    )
    await Promise.all(opening.filter((one) => one !== undefined))
    return snapshots
  }

  return {
    async find(bankAccounts: readonly string[]): Promise<(Snapshot | undefined)[]> {
      const rows = await database.remember<SnapshotRow>('snapshots', FIND, [bankAccounts])
      const found = new Map(rows.map((row) => [row.bank_account, row]))
      return opened(bankAccounts.map((id) => found.get(id)))
    },

    /**
     * What is kept of each, each named once, with an amount of the day's where one is to be told and is left, and a claim on
     * those that are too old and that nobody is looking at just now, of this or any other process. Of two at once one gets
     * it; the other finds the new snapshot when it asks again.
     */
    async claim(wanted: readonly Wanted[], now: Date, until: Date): Promise<Claim[]> {
      const values = [JSON.stringify(wanted.map(asDates)), until, now]
      // A budget must outlast a breakdown of the server; claims need not.
      const ask = wanted.some(({ amountType }) => amountType !== null) ? database.query : database.remember
      const rows = await ask<ClaimRow>('snapshot-claims', CLAIM, values)
      const found = new Map(rows.map((row) => [row.bank_account, row]))
      const snapshots = await opened(wanted.map(({ bankAccount }) => found.get(bankAccount)))
      return wanted.map(({ bankAccount }, index) => {
        const { is_mine: isMine, is_charged: isCharged } = found.get(bankAccount)!
        return { snapshot: snapshots[index], isMine, isCharged }
      })
    },

    /**
     * Keeps what was seen and lets go of the claim, unless something newer is kept already. What comes back after the
     * customer stopped sharing is not kept.
     */
    async keep(seen: readonly { bankAccount: string; snapshot: Snapshot }[]): Promise<void> {
      const sealed = await Promise.all(
        seen.map(({ bankAccount, snapshot: { balances, untrusted, bands } }) =>
          seal.seal(`snapshot:${bankAccount}`, { balances, untrusted, bands } satisfies Kept),
        ),
      )
      const rows = seen.map(({ bankAccount, snapshot: { toldType, fetchedAt } }, index) => ({
        bankAccount,
        fetchedAt,
        toldType,
        sealed: sealed[index],
      }))
      await database.remember('snapshot-keeps', KEEP, [JSON.stringify(rows)])
    },

    /** Lets go of claims that came to nothing, so that the next who asks may try. */
    async release(bankAccounts: readonly string[]): Promise<void> {
      await database.remember('snapshot-releases', RELEASE, [bankAccounts])
    },

    /** Forgets claims that nothing came of. */
    async sweepClaims(before: Date): Promise<number> {
      const where = { sealed: null, OR: [{ claimedUntil: null }, { claimedUntil: { lt: before } }] }
      return (await database.tables.snapshot.deleteMany({ where })).count
    },
  }
}

/** The day as text: a time with a zone would be read as the day in the server's own zone. */
const asDates = <T extends { readonly day: Date }>(one: T): Omit<T, 'day'> & { day: string } => ({
  ...one,
  day: one.day.toISOString().slice(0, 10),
})

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

/**
 * What was told of each bank account on each day, whoever shares it. Takes are single statements, so that of many at once
 * none goes over; amounts are taken with the claim on the snapshot that they are told from.
 */
export const disclosureStore = (database: Database) => ({
  /** Takes one question of the day's; false where there is none left. */
  async takeQuestion(bankAccount: string, day: Date): Promise<boolean> {
    const taken = await database.tables.$executeRaw`
      insert into disclosure_day as told (bank_account, day, question_count) values (${bankAccount}, ${day}::date, 1)
      on conflict (bank_account, day) do update set question_count = told.question_count + 1
        where told.question_count < ${QUESTIONS_PER_DAY}`
    return taken === 1
  },

  /**
   * Gives back amounts that were taken and not told, each account named once. The kind of balance stays chosen only where
   * an amount of it was told.
   */
  async giveBackAmounts(unused: readonly { bankAccount: string; day: Date }[]): Promise<void> {
    await database.query('unused-amounts', GIVE_BACK, [JSON.stringify(unused.map(asDates))])
  },

  /** Gives back a question that was taken and not answered. */
  async giveBackQuestion(bankAccount: string, day: Date): Promise<void> {
    await database.tables.$executeRaw`
      update disclosure_day set question_count = question_count - 1
      where bank_account = ${bankAccount} and day = ${day}::date and question_count > 0`
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
/** The store as `snapshots.ts` takes it. */
export type DisclosureStore = ReturnType<typeof disclosureStore>
