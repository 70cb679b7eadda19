import type { BalanceLineDirection } from '../../kernel/alert-vocabulary.ts'
import type { BalanceType } from '../../kernel/bank-vocabulary.ts'
import type { Money } from '../../kernel/money.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import { tablesIn, type Database, type Sql } from '../../storage/database.ts'
import type { Seal } from '../../storage/seal.ts'
import { LINES_PER_ACCOUNT, type BalanceLine, type LineSide } from './balance-line.ts'

/** What is sealed of a line: with it, a dump would say roughly how much is on the account. */
interface SealedLine extends Money {
  readonly type: BalanceType
  readonly direction: BalanceLineDirection
  readonly side: LineSide | null
}

interface LineRow extends Pick<BalanceLine, 'id' | 'clientId' | 'accountId' | 'customerId' | 'bankId' | 'alertedAt'> {
  sealed: string
}

/** A line as it was read, with the value that identifies this state of it. */
export interface StoredLine extends BalanceLine {
  readonly sealed: string
}

/** A line to add. */
export interface NewLine extends Omit<BalanceLine, 'alertedAt' | 'customerId' | 'bankId'> {
  readonly disclosureKey: string
  readonly createdAt: Date
  readonly checkDueAt: Date
}

const LINE_COLUMNS = `line.id, line.client_id as "clientId", line.account_id as "accountId", line.sealed,
  line.alerted_at as "alertedAt", account.customer_id as "customerId", account.bank_id as "bankId"`
const FIND_SQL = `
  select ${LINE_COLUMNS} from balance_line line join account on account.id = line.account_id
  where line.account_id = any($1::text[]) and line.client_id = $2 order by line.created_at, line.id`
const LOCK_DUE_SQL = `
  select line.id from balance_line line where line.check_due_at <= $1 order by line.check_due_at limit $2
  for update skip locked`
const POSTPONE_SQL = `
  with postponed as (
    update balance_line set check_due_at = later.check_due_at
    from unnest($1::text[], $2::timestamptz[]) as later (id, check_due_at)
    where balance_line.id = later.id returning balance_line.*)
  select ${LINE_COLUMNS} from postponed line join account on account.id = line.account_id`
const SET_SIDE_SQL = `
  update balance_line set sealed = $3, alerted_at = coalesce($4, alerted_at) where id = $1 and sealed = $2 returning id`

/** The lines that customers drew. */
export function balanceLineStore(database: Database, seal: Seal) {
  const contextOf = (id: string) => `balance-line:${id}` as const
  const sealLine = ({ id, type, line, direction, side }: Omit<NewLine, 'disclosureKey'> | BalanceLine) =>
    seal.seal(contextOf(id), { ...line, type, direction, side } satisfies SealedLine)
  const toLines = (rows: readonly LineRow[]): Promise<StoredLine[]> =>
    Promise.all(
      rows.map(async (row) => {
        const { amount, currency, ...rest } = (await seal.unseal(contextOf(row.id), row.sealed)) as SealedLine
        return { ...row, ...rest, line: { amount, currency } }
      }),
    )

  return {
    /** The lines that were drawn for a client, oldest first. */
    find: async (clientId: string, accountIds: readonly string[]): Promise<StoredLine[]> =>
      toLines(await database.query<LineRow>('balance-lines', FIND_SQL, [accountIds, clientId])),

    /**
     * Adds a line, if an active consent of the client still covers the account with alerts and bands, and if the account has room
     * for it. Otherwise returns why not. The caller has locked the account by its reservation of the change.
     */
    async add(tx: Transaction, line: NewLine): Promise<'ADDED' | 'NOT_CONSENTED' | 'LIMIT_REACHED'> {
      const { id, clientId, accountId, disclosureKey, createdAt, checkDueAt } = line
      // Locked, so that a consent cannot end in between: its end would not delete the line.
      const consents = await tablesIn(tx).$queryRaw<unknown[]>`
        select consent.id from consent join consent_account shared on shared.consent_id = consent.id
        where shared.account_id = ${accountId} and consent.client_id = ${clientId} and consent.status = 'ACTIVE'
          and consent.expires_at > ${createdAt} and 'alerts:read' = any(consent.scopes)
          and consent.scopes && '{balances:band,balances:exact}'
        order by consent.id for share of consent`
      if (consents.length === 0) return 'NOT_CONSENTED'
      const { balanceLine } = tablesIn(tx)
      if ((await balanceLine.count({ where: { disclosureKey } })) >= LINES_PER_ACCOUNT) return 'LIMIT_REACHED'
      const sealed = await sealLine(line)
      await balanceLine.create({ data: { id, clientId, accountId, disclosureKey, sealed, createdAt, checkDueAt } })
      return 'ADDED'
    },

    /** Deletes a line of a client. Returns the key of its account; undefined if there is no such line. */
    async delete(tx: Transaction, clientId: string, id: string): Promise<string | undefined> {
      const [row] = await tablesIn(tx).$queryRaw<{ disclosureKey: string }[]>`
        delete from balance_line where id = ${id} and client_id = ${clientId} returning disclosure_key as "disclosureKey"`
      return row?.disclosureKey
    },

    /** Takes lines that are due at `now` and sets when each is checked next. */
    takeDue: (now: Date, limit: number, nextCheckAt: () => Date): Promise<StoredLine[]> =>
      database.delivery.transaction(async (tx) => {
        const ids = (await tx.query<{ id: string }>('lock-due-lines', LOCK_DUE_SQL, [now, limit])).map(({ id }) => id)
        if (ids.length === 0) return []
        return toLines(await tx.query<LineRow>('postpone-lines', POSTPONE_SQL, [ids, ids.map(nextCheckAt)]))
      }),

    /** Stores the side of a line, and when its crossing was reported. False if the line was deleted or changed meanwhile. */
    async setSide(sql: Sql, line: StoredLine, side: LineSide, alertedAt: Date | null): Promise<boolean> {
      const sealed = await sealLine({ ...line, side })
      return (await sql.query('set-line-side', SET_SIDE_SQL, [line.id, line.sealed, sealed, alertedAt])).length === 1
    },
  }
}

/** The store of `balanceLineStore`. */
export type BalanceLineStore = ReturnType<typeof balanceLineStore>

/**
 * Deletes the lines that the client of an ended consent can no longer have: those of accounts that no other active consent of it
 * covers with alerts and bands.
 */
export async function deleteUnsharedLines(tx: Transaction, consentId: string, now: Date): Promise<void> {
  await tablesIn(tx).$executeRaw`
    with unshared as (
      select line.id from balance_line line join consent_account shared on shared.account_id = line.account_id
      join consent ended on ended.id = shared.consent_id and ended.client_id = line.client_id
      where ended.id = ${consentId} and not exists (
        select from consent other join consent_account covered on covered.consent_id = other.id
        where covered.account_id = line.account_id and other.client_id = line.client_id and other.status = 'ACTIVE'
          and other.expires_at > ${now} and 'alerts:read' = any(other.scopes)
          and other.scopes && '{balances:band,balances:exact}')
      order by line.id for update of line)
    delete from balance_line using unshared where balance_line.id = unshared.id`
}

/**
 * Moves lines to another key of their account. If that has more lines than an account may have then, the newest are deleted. The
 * edges of bands depend on the key, so that a moved line can lie within a band: such a band is on neither side.
 */
export async function moveLines(tx: Transaction, previousKey: string, disclosureKey: string): Promise<void> {
  await tablesIn(tx).$executeRaw`
    update balance_line set disclosure_key = ${disclosureKey} where disclosure_key = ${previousKey}`
  await tablesIn(tx).$executeRaw`
    delete from balance_line where id in (
      select id from balance_line where disclosure_key = ${disclosureKey} order by created_at, id offset ${LINES_PER_ACCOUNT})`
}
