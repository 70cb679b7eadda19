import type { BalanceType } from '../../kernel/bank-vocabulary.ts'
import { deleteInBatches } from '../../storage/batches.ts'
import type { Database } from '../../storage/database.ts'
import type { Seal } from '../../storage/seal.ts'
import { windowStart } from './disclosure.ts'
import { CHARGED, roundsOf } from './disclosure-store.ts'
import type { Snapshot } from './model.ts'

type Kept = Pick<Snapshot, 'balances' | 'untrusted' | 'unsupported' | 'bands'>

/** A wish for a snapshot that was fetched after a time. */
export interface Wanted {
  readonly bankAccount: string
  /** Whose limits an amount counts against. */
  readonly disclosureKey: string
  readonly freshAfter: Date
  /** An amount of this kind is to be disclosed of it, and counts against the limit unless it was disclosed already. */
  readonly amountType: BalanceType | null
}

/** What is kept of a bank account, and what whoever asks may do about it. */
export interface Claim {
  readonly snapshot: Snapshot | undefined
  /** Whether they may, and must, look at the bank. */
  readonly isMine: boolean
  /** Whether an amount was taken of the account's limit. */
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
 * Takes an amount of the account's limit where one is to be disclosed and none was from the saved snapshot, and claims what
 * is too old. A snapshot of which another kind was disclosed gives no amount. Of two at once the row decides: the second
 * sees what the first saved, whatever its own statement saw before.
 */
const CLAIM = `
  with wanted as (
    select * from jsonb_to_recordset($1::jsonb) as one (
      "bankAccount" text, "disclosureKey" text, "freshAfter" timestamptz, "amountType" text)),
  kept as (
    select wanted.*, sealed, fetched_at, told_type, coalesce(fetched_at > "freshAfter", false) as is_fresh
    from wanted left join snapshot on bank_account = "bankAccount"),
  charged as (
    ${CHARGED('kept where "amountType" is not null and (told_type is null or not is_fresh)')}),
  mine as (
    insert into snapshot as known (bank_account, claimed_until)
    select "bankAccount", statement_timestamp() + $2::int * interval '1 millisecond' from kept
    where not is_fresh and ("amountType" is null or "disclosureKey" in (select account_key from charged))
    order by "bankAccount"
    on conflict (bank_account) do update set claimed_until = excluded.claimed_until
      where coalesce(known.claimed_until <= statement_timestamp(), true) and not exists (
        select 1 from wanted where "bankAccount" = known.bank_account and known.fetched_at > "freshAfter")
    returning bank_account)
  select "bankAccount" as bank_account, sealed, fetched_at, told_type,
    mine.bank_account is not null as is_mine, charged.account_key is not null as is_charged
  from kept left join mine on mine.bank_account = "bankAccount"
    left join charged on charged.account_key = "disclosureKey" and "amountType" is not null`.replaceAll(/\s+/g, ' ')

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
      and account.ref_digest = split_part("bankAccount", '/', 2) and consent.status = 'ACTIVE')`

const RELEASE = `
  with held as (
    select bank_account from snapshot where bank_account = any($1::text[]) order by bank_account for update)
  update snapshot as known set claimed_until = null from held where known.bank_account = held.bank_account`

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
     * What is saved of each, each named once, with an amount of its limit where one is to be disclosed and is left, and a
     * claim on those that are too old and that nobody is fetching just now, of this or any other process. Of two at once one
     * gets it; the other finds the new snapshot when it asks again.
     */
    async claim(wanted: readonly Wanted[], now: Date, leaseMs: number): Promise<Claim[]> {
      const found = new Map<string, ClaimRow>()
      // A statement can take one amount of an account: another of the same, under another id, has its own.
      const rounds = roundsOf(wanted, ({ amountType, disclosureKey }) => (amountType === null ? null : disclosureKey))
      for (const round of rounds) {
        // A limit must outlast a breakdown of the server; claims need not.
        const ask = round.some(({ amountType }) => amountType !== null) ? database.query : database.remember
        const values = [JSON.stringify(round), leaseMs, now, windowStart(now)]
        for (const row of await ask<ClaimRow>('snapshot-claims', CLAIM, values)) found.set(row.bank_account, row)
      }
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
        seen.map(({ bankAccount, snapshot: { balances, untrusted, unsupported, bands } }) =>
          seal.seal(`snapshot:${bankAccount}`, { balances, untrusted, unsupported, bands } satisfies Kept),
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

    /** Forgets claims that nothing came of, an hour after they ended. */
    async sweepClaims(): Promise<number> {
      const where = "sealed is null and coalesce(claimed_until < statement_timestamp() - interval '1 hour', true)"
      return deleteInBatches(database, { table: 'snapshot', where, orderBy: 'claimed_until', values: [] })
    },
  }
}
