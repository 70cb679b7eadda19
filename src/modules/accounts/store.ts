import type { BalanceType } from '../../kernel/bank-vocabulary.ts'
import { RETENTION } from '../../kernel/retention.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import { deleteInBatches } from '../../storage/batch-delete.ts'
import { tablesIn, type Database } from '../../storage/database.ts'
import type { Seal } from '../../storage/seal.ts'
import { windowStart } from './disclosure.ts'
import { reserveExactSql, splitIntoUniqueKeyBatches } from './disclosure-store.ts'
import type { Snapshot } from './model.ts'

type SealedBalances = Pick<Snapshot, 'balances' | 'invalidTypes' | 'unsupportedTypes' | 'isPartial' | 'bands'>

/** A request for a snapshot that was fetched after `freshAfter`. */
export interface ClaimRequest {
  readonly bankAccountKey: string
  /** The account whose limits a disclosure counts against. */
  readonly disclosureKey: string
  readonly freshAfter: Date
  /** The type of balance of which exact values are to be disclosed; `null` if none are, or if that was reserved already. */
  readonly exactType: BalanceType | null
  /** When a claim ends if the process that holds it does not end it, in milliseconds. */
  readonly leaseMs: number
}

/** What is saved of a bank account, and whether the caller may fetch it. */
export interface Claim {
  readonly snapshot: Snapshot | undefined
  /** If the caller may, and must, fetch the account: when the claim ends, which also identifies it (decision 17). */
  readonly claimedUntil: Date | null
  /** Whether a disclosure was reserved against the account's limit. */
  readonly isDisclosureReserved: boolean
}

/** A claim that is to end. */
export interface ClaimRelease {
  readonly bankAccountKey: string
  readonly claimedUntil: Date
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
  claimed_until: Date | null
  is_disclosure_reserved: boolean
}

const FIND =
  'select bank_account_key, sealed, fetched_at, disclosed_type from snapshot where bank_account_key = any($1::text[])'

/**
 * Reserves a disclosure if exact values are to be disclosed and none were from the saved snapshot, and claims each snapshot that
 * is too old. Nothing is reserved for a fresh snapshot from which another type was disclosed. If two statements claim one row,
 * the second sees what the first process saved, even if it began earlier.
 */
const CLAIM = `
  with requested as (
    select * from jsonb_to_recordset($1::jsonb) as one (
      "bankAccountKey" text, "disclosureKey" text, "freshAfter" timestamptz, "exactType" text, "leaseMs" int)),
  saved as (
    select requested.*, sealed, fetched_at, disclosed_type, coalesce(fetched_at > "freshAfter", false) as is_fresh
    from requested left join snapshot on bank_account_key = "bankAccountKey"),
  reserved as (
    ${reserveExactSql('saved where "exactType" is not null and (disclosed_type is null or not is_fresh)')}),
  claimed as (
    insert into snapshot as known (bank_account_key, claimed_until)
    select "bankAccountKey", statement_timestamp() + "leaseMs" * interval '1 millisecond' from saved
    where not is_fresh and ("exactType" is null or "disclosureKey" in (select disclosure_key from reserved))
    order by "bankAccountKey"
    on conflict (bank_account_key) do update set claimed_until = excluded.claimed_until
      where coalesce(known.claimed_until <= statement_timestamp(), true) and not exists (
        select 1 from requested where "bankAccountKey" = known.bank_account_key and known.fetched_at > "freshAfter")
    returning bank_account_key, claimed_until)
  select "bankAccountKey" as bank_account_key, sealed, fetched_at, disclosed_type,
    claimed.claimed_until, reserved.disclosure_key is not null as is_disclosure_reserved
  from saved left join claimed on claimed.bank_account_key = "bankAccountKey"
    left join reserved on reserved.disclosure_key = "disclosureKey" and "exactType" is not null`.replaceAll(/\s+/g, ' ')

/**
 * Saves each snapshot that is not older than the saved one. A newer one ends the claim; the same one, saved again with what was
 * disclosed of it, does not, because the claim is another's by then. Rows are locked in the order of their keys, as in CLAIM, so
 * that two statements cannot deadlock.
 */
const SAVE = `
  with fetched as (
    select * from jsonb_to_recordset($1::jsonb)
      as one ("bankAccountKey" text, sealed text, "fetchedAt" timestamptz, "disclosedType" text)),
  locked as (
    select bank_account_key from snapshot where bank_account_key in (select "bankAccountKey" from fetched)
    order by bank_account_key for update)
  update snapshot as known set sealed = fetched.sealed, fetched_at = "fetchedAt", disclosed_type = "disclosedType",
    claimed_until = case when known.fetched_at = "fetchedAt" then known.claimed_until end
  from fetched join locked on bank_account_key = "bankAccountKey"
  where known.bank_account_key = "bankAccountKey" and coalesce(known.fetched_at <= "fetchedAt", true) and exists (
    select 1 from account join consent_account shared on shared.account_id = account.id
    join consent on consent.id = shared.consent_id
    where account.bank_id = split_part("bankAccountKey", '/', 1)
      and account.ref_digest = split_part("bankAccountKey", '/', 2) and consent.status = 'ACTIVE')`

const RELEASE_CLAIMS = `
  with ended as (
    select * from jsonb_to_recordset($1::jsonb) as one ("bankAccountKey" text, "claimedUntil" timestamptz)),
  locked as (
    select bank_account_key from snapshot join ended on bank_account_key = "bankAccountKey" and claimed_until = "claimedUntil"
    order by bank_account_key for update of snapshot)
  update snapshot as known set claimed_until = null from locked where known.bank_account_key = locked.bank_account_key`

/** The store of `snapshotStore`. */
export type SnapshotStore = ReturnType<typeof snapshotStore>

/** The newest balances of each bank account, sealed. A snapshot replaces the one before: no history is stored. */
export const snapshotStore = (database: Database, seal: Seal) => {
  return {
    /** The saved snapshots, in the order of the keys. */
    async find(bankAccountKeys: readonly string[]): Promise<(Snapshot | undefined)[]> {
      const rows = await database.queryAsyncCommit<SnapshotRow>('snapshot-find', FIND, [bankAccountKeys])
      const found = new Map(rows.map((row) => [row.bank_account_key, row]))
      return unsealAll(
        seal,
        bankAccountKeys.map((key) => found.get(key)),
      )
    },

    /**
     * Returns the saved snapshot of each account, reserves the disclosures that are to happen against the limits at `now`, and
     * claims the snapshots that are too old, unless another process has claimed them. Takes each account once. Of two processes
     * one gets the claim; the other finds the new snapshot when it calls this again.
     */
    async claim(requests: readonly ClaimRequest[], now: Date): Promise<Claim[]> {
      const found = new Map<string, ClaimRow>()
      // A statement can reserve one disclosure per account. Accounts with different IDs at the bank can have one `disclosureKey`.
      const batches = splitIntoUniqueKeyBatches(requests, ({ exactType, disclosureKey }) =>
        exactType === null ? null : disclosureKey,
      )
      for (const batch of batches) {
        // A reservation must survive a crash of the database server; a claim need not.
        const run = batch.some(({ exactType }) => exactType !== null) ? database.query : database.queryAsyncCommit
        const values = [JSON.stringify(batch), now, windowStart(now)]
        for (const row of await run<ClaimRow>('snapshot-claim', CLAIM, values)) found.set(row.bank_account_key, row)
      }
      const snapshots = await unsealAll(
        seal,
        requests.map(({ bankAccountKey }) => found.get(bankAccountKey)),
      )
      return requests.map(({ bankAccountKey }, index) => {
        const { claimed_until: claimedUntil, is_disclosure_reserved: isDisclosureReserved } = found.get(bankAccountKey)!
        return { snapshot: snapshots[index], claimedUntil, isDisclosureReserved }
      })
    },

    /**
     * Saves snapshots and ends the claims on them, except where a newer snapshot is saved. What is fetched of an account that no
     * active consent covers any more is not saved.
     */
    async save(writes: readonly SnapshotWrite[]): Promise<void> {
      const sealed = await Promise.all(
        writes.map(({ bankAccountKey, snapshot: { balances, invalidTypes, unsupportedTypes, isPartial, bands } }) =>
          seal.seal(`snapshot:${bankAccountKey}`, {
            balances,
            invalidTypes,
            unsupportedTypes,
            isPartial,
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

    /** Ends claims for which nothing was fetched, so that others may fetch. A claim that replaced one of them remains. */
    async releaseClaims(claims: readonly ClaimRelease[]): Promise<void> {
      await database.queryAsyncCommit('snapshot-release-claims', RELEASE_CLAIMS, [JSON.stringify(claims)])
    },

    /** Deletes claims for which nothing was ever saved, an hour after they ended; returns how many. */
    async deleteStaleClaims(): Promise<number> {
      const where =
        "sealed is null and coalesce(claimed_until < statement_timestamp() - $1::int * interval '1 millisecond', true)"
      return deleteInBatches(database, {
        table: 'snapshot',
        where,
        orderBy: 'claimed_until',
        values: [RETENTION.snapshot.afterMs],
      })
    },
  }
}

/**
 * Deletes the snapshots of a consent's accounts, except those of accounts that an active consent of any customer covers. Rows are
 * locked in the order of their keys, as in SAVE, so that a consent can end while balances are saved.
 */
export async function deleteUnsharedSnapshots(tx: Transaction, consentId: string, now: Date): Promise<void> {
  await tablesIn(tx).$executeRaw`
    with unshared as (
      select bank_account_key from snapshot where bank_account_key in (
        select account.bank_id || '/' || account.ref_digest from account
        join consent_account shared on shared.account_id = account.id where shared.consent_id = ${consentId})
      and not exists (
        select 1 from account join consent_account shared on shared.account_id = account.id
        join consent on consent.id = shared.consent_id
        where account.bank_id = split_part(snapshot.bank_account_key, '/', 1)
          and account.ref_digest = split_part(snapshot.bank_account_key, '/', 2)
          and consent.status = 'ACTIVE' and consent.expires_at > ${now})
      order by bank_account_key for update)
    delete from snapshot using unshared where snapshot.bank_account_key = unshared.bank_account_key`
}

async function unseal(
  seal: Seal,
  { bank_account_key, sealed, fetched_at, disclosed_type }: SnapshotRow,
): Promise<Snapshot> {
  const balances = (await seal.unseal(`snapshot:${bank_account_key}`, sealed!)) as SealedBalances
  return { ...balances, fetchedAt: fetched_at!, disclosedType: disclosed_type as BalanceType | null }
}

/** Unseals rows in their order. Costs no promise for a row without a snapshot, as most are that are claimed. */
async function unsealAll(seal: Seal, rows: readonly (SnapshotRow | undefined)[]): Promise<(Snapshot | undefined)[]> {
  const snapshots = rows.map((): Snapshot | undefined => undefined)
  const unsealing = rows.map((row, index) =>
    row?.sealed ? unseal(seal, row).then((snapshot) => (snapshots[index] = snapshot)) : undefined,
  )
  await Promise.all(unsealing.filter((one) => one !== undefined))
  return snapshots
}
