import { addMs } from '../../kernel/clock.ts'
import { UNUSED_TOKENS_MS } from '../../kernel/schedules.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import { tablesIn, type Database } from '../../storage/database.ts'

/** A customer's connection to a bank, with the bank tokens sealed. */
export interface ConnectionRow {
  readonly id: string
  readonly customerId: string
  readonly connectorId: string
  readonly sealedAccess: string | null
  readonly tokenExpiresAt: Date
}

const FIND_CONNECTIONS = `
  select id, customer_id as "customerId", connector_id as "connectorId", sealed_access as "sealedAccess",
    token_expires_at as "tokenExpiresAt"
  from connection where id = any($1::text[])`

const renewalDueAt = (tokenExpiresAt: Date): Date => addMs(tokenExpiresAt, UNUSED_TOKENS_MS)

/** Connections, with their sealed bank tokens and the claims to renew them. */
export const connectionStore = (database: Database) => ({
  async add(
    tx: Transaction,
    connection: {
      id: string
      customerId: string
      connectorId: string
      sealedAccess: string
      consentDigest: string
      tokenExpiresAt: Date
    },
  ): Promise<void> {
    const data = { ...connection, status: 'OPEN', renewalDueAt: renewalDueAt(connection.tokenExpiresAt) }
    await tablesIn(tx).connection.create({ data })
  },

  /** Assigns a connection to a customer. `customerDigest` is the bank's name for the person if it identifies the customer. */
  async assign(tx: Transaction, id: string, customerId: string, customerDigest: string | null): Promise<void> {
    await tablesIn(tx).connection.update({ where: { id }, data: { customerId, customerDigest } })
  },

  /** Deletes the bank's name for the person of a connection. */
  async clearCustomerDigest(tx: Transaction, id: string): Promise<void> {
    await tablesIn(tx).connection.update({ where: { id }, data: { customerDigest: null } })
  },

  /** Customers whom the bank knows by this digest, newest connection first. PENDING consents count. */
  async findCustomers(tx: Transaction, connectorId: string, customerDigest: string): Promise<string[]> {
    const rows = await tablesIn(tx).connection.findMany({
      where: { connectorId, customerDigest },
      orderBy: { createdAt: 'desc' },
      select: { customerId: true },
    })
    return [...new Set(rows.map(({ customerId }) => customerId))]
  },

  /** Those of `customerIds` whom the bank knows by another digest. */
  async findOtherCustomers(
    tx: Transaction,
    connectorId: string,
    customerDigest: string,
    customerIds: readonly string[],
  ): Promise<string[]> {
    const rows = await tablesIn(tx).connection.findMany({
      where: {
        connectorId,
        customerId: { in: [...customerIds] },
        AND: [{ customerDigest: { not: null } }, { customerDigest: { not: customerDigest } }],
      },
      select: { customerId: true },
    })
    return [...new Set(rows.map(({ customerId }) => customerId))]
  },

  /** The customer's other open connections with ACTIVE consents at this connector. */
  async findOlder(customerId: string, connectorId: string, connectionId: string): Promise<string[]> {
    const rows = await database.tables.connection.findMany({
      where: {
        customerId,
        connectorId,
        id: { not: connectionId },
        sealedAccess: { not: null },
        consents: { some: { status: 'ACTIVE' } },
      },
      select: { id: true },
    })
    return rows.map(({ id }) => id)
  },

  /** Other open connections at the same connector whose ACTIVE consents cover an account of this consent. */
  async findOverlapping(tx: Transaction, consentId: string, connectionId: string): Promise<string[]> {
    const rows = await tablesIn(tx).$queryRaw<{ id: string }[]>`
      select distinct other.id from connection own
      join connection other on other.connector_id = own.connector_id and other.id <> own.id
      join consent on consent.connection_id = other.id and consent.status = 'ACTIVE'
      join consent_account covered on covered.consent_id = consent.id
      join account on account.id = covered.account_id
      join consent_account shared on shared.consent_id = ${consentId}
      join account mine on mine.id = shared.account_id
        and mine.bank_id = account.bank_id and mine.ref_digest = account.ref_digest
      where own.id = ${connectionId} and other.sealed_access is not null`
    return rows.map(({ id }) => id)
  },

  /** The connections with these IDs, in no order. */
  findMany: (ids: readonly string[]): Promise<ConnectionRow[]> =>
    database.queryAsyncCommit<ConnectionRow>('connections', FIND_CONNECTIONS, [ids]),

  findByBankConsent: (connectorId: string, consentDigest: string) =>
    database.tables.connection.findUnique({ where: { connectorId_consentDigest: { connectorId, consentDigest } } }),

  /**
   * Claims the renewal of tokens. Returns the end of the claim, by the database's clock, which also identifies it. Undefined if
   * the tokens were renewed since they were read, or are being renewed. The expiry time identifies the tokens, because the
   * sealed text also changes when sealing keys rotate.
   */
  async claimRenewal({ id, tokenExpiresAt }: ConnectionRow, leaseMs: number): Promise<Date | undefined> {
    const [row] = await database.tables.$queryRaw<{ until: Date }[]>`
      update connection set refresh_claimed_until = statement_timestamp() + ${leaseMs}::int * interval '1 millisecond'
      where id = ${id} and token_expires_at = ${tokenExpiresAt} and sealed_access is not null
        and coalesce(refresh_claimed_until <= statement_timestamp(), true)
      returning refresh_claimed_until as until`
    return row?.until
  },

  /** Replaces the tokens and releases the claim. False if the claim was lost or the connection has ended. */
  async replaceAccess(id: string, claimedUntil: Date, sealedAccess: string, tokenExpiresAt: Date): Promise<boolean> {
    const { count } = await database.tables.connection.updateMany({
      where: { id, refreshClaimedUntil: claimedUntil, sealedAccess: { not: null } },
      data: {
        sealedAccess,
        tokenExpiresAt,
        renewalDueAt: renewalDueAt(tokenExpiresAt),
        refreshClaimedUntil: null,
      },
    })
    return count === 1
  },

  /** Claims up to 20 connections whose idle tokens are due for renewal. They are due again at `retryAt`. Returns their IDs. */
  async claimIdle(now: Date, retryAt: Date): Promise<string[]> {
    const rows = await database.tables.$queryRaw<{ id: string }[]>`
      update connection set renewal_due_at = ${retryAt} where id = any(array(
        select id from connection where sealed_access is not null and renewal_due_at <= ${now}
        order by renewal_due_at limit 20 for update skip locked))
      returning id`
    return rows.map(({ id }) => id)
  },

  /** Deletes tokens that the bank rejects for good. Has no effect if the claim was lost. */
  async discardAccess(id: string, claimedUntil: Date): Promise<void> {
    await database.tables.connection.updateMany({
      where: { id, refreshClaimedUntil: claimedUntil, sealedAccess: { not: null } },
      data: { status: 'RECONNECT', sealedAccess: null, refreshClaimedUntil: null },
    })
  },

  /** Releases a claim without new tokens. Has no effect if the claim was lost. */
  async releaseRenewal(id: string, claimedUntil: Date): Promise<void> {
    await database.tables.connection.updateMany({
      where: { id, refreshClaimedUntil: claimedUntil },
      data: { refreshClaimedUntil: null },
    })
  },

  async end(id: string, at: Date): Promise<void> {
    await database.tables.connection.update({
      where: { id },
      data: { status: 'ENDED', endedAt: at, sealedAccess: null },
    })
  },
})

/** The store of connections. */
export type ConnectionStore = ReturnType<typeof connectionStore>
