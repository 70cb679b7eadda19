import type { BalanceType } from '../../kernel/bank-vocabulary.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import { deleteInBatches } from '../../storage/batch-delete.ts'
import { tablesIn, type Database } from '../../storage/database.ts'
import type { Seal } from '../../storage/seal.ts'
import { windowStart } from './disclosure.ts'
import { chargeExactSql, splitIntoUniqueKeyBatches } from './disclosure-store.ts'
import type { Snapshot } from './model.ts'

type SealedBalances = Pick<Snapshot, 'balances' | 'invalidTypes' | 'unsupportedTypes' | 'bands'>

/** A wish for a snapshot that was fetched after a time. */
export interface ClaimRequest {
  readonly bankAccountKey: string
  /** Whose limits an amount counts against. */
  readonly disclosureKey: string
  readonly freshAfter: Date
  /** An amount of this kind is to be disclosed of it, and counts against the limit unless it was disclosed already. */
  readonly exactType: BalanceType | null
}

/** What is kept of a bank account, and what whoever asks may do about it. */
export interface Claim {
  readonly snapshot: Snapshot | undefined
  /** Whether they may, and must, look at the bank. */
  readonly isClaimed: boolean
  /** Whether an amount was taken of the account's limit. */
  readonly isCharged: boolean
}

/** A snapshot to be saved. */
export interface SnapshotWrite {
  readonly bankAccountKey: string
  readonly snapshot: Snapshot
}

interface SnapshotRow {
  bank_account_key: string
  sealed: string | null
  fetched_at: Date | null
  disclosed_type: string | null
}
interface ClaimRow extends SnapshotRow {
  is_claimed: boolean
  is_charged: boolean
}

const FIND =
  'select bank_account_key, sealed, fetched_at, disclosed_type from snapshot where bank_account_key = any($1::text[])'

/**
 * Takes an amount of the account's limit where one is to be disclosed and none was from the saved snapshot, and claims what
 * is too old. A snapshot of which another kind was disclosed gives no amount. Of two at once the row decides: the second
 * sees what the first saved, whatever its own statement saw before.
 */
const CLAIM = `
  with wanted as (
    select * from jsonb_to_recordset($1::jsonb) as one (
      "bankAccountKey" text, "disclosureKey" text, "freshAfter" timestamptz, "exactType" text)),
  kept as (
    select wanted.*, sealed, fetched_at, disclosed_type, coalesce(fetched_at > "freshAfter", false) as is_fresh
    from wanted left join snapshot on bank_account_key = "bankAccountKey"),
  charged as (
    ${chargeExactSql('kept where "exactType" is not null and (disclosed_type is null or not is_fresh)')}),
  mine as (
    insert into snapshot as known (bank_account_key, claimed_until)
    select "bankAccountKey", statement_timestamp() + $2::int * interval '1 millisecond' from kept
    where not is_fresh and ("exactType" is null or "disclosureKey" in (select disclosure_key from charged))
    order by "bankAccountKey"
    on conflict (bank_account_key) do update set claimed_until = excluded.claimed_until
      where coalesce(known.claimed_until <= statement_timestamp(), true) and not exists (
        select 1 from wanted where "bankAccountKey" = known.bank_account_key and known.fetched_at > "freshAfter")
    returning bank_account_key)
  select "bankAccountKey" as bank_account_key, sealed, fetched_at, disclosed_type,
    mine.bank_account_key is not null as is_claimed, charged.disclosure_key is not null as is_charged
  from kept left join mine on mine.bank_account_key = "bankAccountKey"
    left join charged on charged.disclosure_key = "disclosureKey" and "exactType" is not null`.replaceAll(/\s+/g, ' ')

/** The newest wins, and only whoever looked lets go of a claim. In the order of the rows, as claims are, or two could wait for each other. */
const SAVE = `
  with seen as (
    select * from jsonb_to_recordset($1::jsonb)
      as one ("bankAccountKey" text, sealed text, "fetchedAt" timestamptz, "disclosedType" text)),
  held as (
    select bank_account_key from snapshot where bank_account_key in (select "bankAccountKey" from seen)
    order by bank_account_key for update)
  update snapshot as known set sealed = seen.sealed, fetched_at = "fetchedAt", disclosed_type = "disclosedType",
    claimed_until = case when known.fetched_at = "fetchedAt" then known.claimed_until end
  from seen join held on bank_account_key = "bankAccountKey"
  where known.bank_account_key = "bankAccountKey" and coalesce(known.fetched_at <= "fetchedAt", true) and exists (
    select 1 from account join consent_account shared on shared.account_id = account.id
    join consent on consent.id = shared.consent_id
    where account.bank_id = split_part("bankAccountKey", '/', 1)
      and account.ref_digest = split_part("bankAccountKey", '/', 2) and consent.status = 'ACTIVE')`

const RELEASE = `
  with held as (
    select bank_account_key from snapshot where bank_account_key = any($1::text[]) order by bank_account_key for update)
  update snapshot as known set claimed_until = null from held where known.bank_account_key = held.bank_account_key`

/** The store of snapshots. */
export type SnapshotStore = ReturnType<typeof snapshotStore>

/** The newest balances of each bank account, sealed; writing one overwrites the one before. */
export const snapshotStore = (database: Database, seal: Seal) => {
  return {
    async find(bankAccounts: readonly string[]): Promise<(Snapshot | undefined)[]> {
      const rows = await database.queryAsyncCommit<SnapshotRow>('snapshot-find', FIND, [bankAccounts])
      const found = new Map(rows.map((row) => [row.bank_account_key, row]))
      return unsealAll(
        seal,
        bankAccounts.map((id) => found.get(id)),
      )
    },

    /**
     * What is saved of each, each named once, with an amount of its limit where one is to be disclosed and is left, and a
     * claim on those that are too old and that nobody is fetching just now, of this or any other process. Of two at once one
     * gets it; the other finds the new snapshot when it asks again.
     */
    async claim(requests: readonly ClaimRequest[], now: Date, leaseMs: number): Promise<Claim[]> {
      const found = new Map<string, ClaimRow>()
      // A statement can take one amount of an account: another of the same, under another id, has its own.
      const batches = splitIntoUniqueKeyBatches(requests, ({ exactType, disclosureKey }) =>
        exactType === null ? null : disclosureKey,
      )
      for (const batch of batches) {
        // A limit must outlast a breakdown of the server; claims need not.
        const run = batch.some(({ exactType }) => exactType !== null) ? database.query : database.queryAsyncCommit
        const values = [JSON.stringify(batch), leaseMs, now, windowStart(now)]
        for (const row of await run<ClaimRow>('snapshot-claim', CLAIM, values)) found.set(row.bank_account_key, row)
      }
      const snapshots = await unsealAll(
        seal,
        requests.map(({ bankAccountKey }) => found.get(bankAccountKey)),
      )
      return requests.map(({ bankAccountKey }, index) => {
        const { is_claimed: isClaimed, is_charged: isCharged } = found.get(bankAccountKey)!
        return { snapshot: snapshots[index], isClaimed, isCharged }
      })
    },

    /**
     * Keeps what was seen and lets go of the claim, unless something newer is kept already. What comes back after the
     * customer stopped sharing is not kept.
     */
    async save(writes: readonly SnapshotWrite[]): Promise<void> {
      const sealed = await Promise.all(
        writes.map(({ bankAccountKey, snapshot: { balances, invalidTypes, unsupportedTypes, bands } }) =>
          seal.seal(`snapshot:${bankAccountKey}`, {
            balances,
            invalidTypes,
            unsupportedTypes,
            bands,
          } satisfies SealedBalances),
        ),
      )
      const rows = writes.map(({ bankAccountKey, snapshot: { disclosedType, fetchedAt } }, index) => ({
        bankAccountKey,
        fetchedAt,
        disclosedType,
        sealed: sealed[index],
      }))
      await database.queryAsyncCommit('snapshot-save', SAVE, [JSON.stringify(rows)])
    },

    /** Lets go of claims that came to nothing, so that the next who asks may try. */
    async release(bankAccounts: readonly string[]): Promise<void> {
      await database.queryAsyncCommit('snapshot-release', RELEASE, [bankAccounts])
    },

    /** Forgets claims that nothing came of, an hour after they ended. */
    async deleteStaleClaims(): Promise<number> {
      const where = "sealed is null and coalesce(claimed_until < statement_timestamp() - interval '1 hour', true)"
      return deleteInBatches(database, { table: 'snapshot', where, orderBy: 'claimed_until', values: [] })
    },
  }
}

/** Deletes the snapshots of a consent's accounts, except those of accounts that an active consent of any customer covers. */
export async function deleteUnsharedSnapshots(tx: Transaction, consentId: string, now: Date): Promise<void> {
  await tablesIn(tx).$executeRaw`
    delete from snapshot where bank_account_key in (
      select account.bank_id || '/' || account.ref_digest from account
      join consent_account shared on shared.account_id = account.id where shared.consent_id = ${consentId})
    and not exists (
      select 1 from account join consent_account shared on shared.account_id = account.id
      join consent on consent.id = shared.consent_id
      where account.bank_id = split_part(snapshot.bank_account_key, '/', 1)
        and account.ref_digest = split_part(snapshot.bank_account_key, '/', 2)
        and consent.status = 'ACTIVE' and consent.expires_at > ${now})`
}

async function unseal(
  seal: Seal,
  { bank_account_key, sealed, fetched_at, disclosed_type }: SnapshotRow,
): Promise<Snapshot> {
  const balances = (await seal.unseal(`snapshot:${bank_account_key}`, sealed!)) as SealedBalances
  return { ...balances, fetchedAt: fetched_at!, disclosedType: disclosed_type as BalanceType | null }
}

/** In the order of the rows; of most that are looked at nothing is kept, and nothing is waited for. */
async function unsealAll(seal: Seal, rows: readonly (SnapshotRow | undefined)[]): Promise<(Snapshot | undefined)[]> {
  const snapshots = rows.map((): Snapshot | undefined => undefined)
  const unsealing = rows.map((row, index) =>
    row?.sealed ? unseal(seal, row).then((snapshot) => (snapshots[index] = snapshot)) : undefined,
  )
  await Promise.all(unsealing.filter((one) => one !== undefined))
  return snapshots
}
