import type { Transaction } from '../../kernel/transaction.ts'
import { tablesIn, type Database } from '../../storage/database.ts'
import { consentListStore } from './consent-list-store.ts'
import { toConsent } from './consent-row.ts'
import { expiryStore } from './expiry-store.ts'
import { suspensionStore } from './suspension-store.ts'
import type { Consent, ConsentActor, ConsentStatus } from './model.ts'

const NEWEST_FIRST = [{ createdAt: 'desc' }, { id: 'desc' }] as const satisfies object[]

/** What the rejection of a PENDING consent needs to know of it. */
type PendingConsent = Pick<Consent, 'id' | 'clientId' | 'bankId' | 'customerId' | 'connectionId'>

/** Consents: each by itself. Lists of them are in `consent-list-store.ts`, those that are due in `expiry-store.ts`. */
export const consentStore = (database: Database) => ({
  ...expiryStore(database),
  ...suspensionStore,
  ...consentListStore(database),

  async add(tx: Transaction, consent: Consent): Promise<void> {
    const { scopes, purposes, ...rest } = consent
    await tablesIn(tx).consent.create({ data: { ...rest, scopes: [...scopes], purposes: [...purposes] } })
  },

  async find(id: string): Promise<Consent | null> {
    const row = await database.tables.consent.findUnique({ where: { id } })
    return row && toConsent(row)
  },

  /** A consent, and whether the client has redeemed its authorization code. */
  async findWithRedemption(id: string): Promise<{ consent: Consent; isRedeemed: boolean } | undefined> {
    const row = await database.tables.consent.findUnique({ where: { id } })
    return row ? { consent: toConsent(row), isRedeemed: row.activatedAt !== null && row.redeemBy === null } : undefined
  },

  async findByOauthGrant(oauthGrantId: string): Promise<Consent | null> {
    const row = await database.tables.consent.findUnique({ where: { oauthGrantId } })
    return row && toConsent(row)
  },

  async findByCustomer(customerId: string, clientId?: string): Promise<Consent[]> {
    const where = { customerId, ...(clientId !== undefined && { clientId }) }
    return (await database.tables.consent.findMany({ where, orderBy: NEWEST_FIRST })).map(toConsent)
  },

  async findActiveByCustomer(
    customerId: string,
    clientId: string,
    now: Date,
  ): Promise<(Consent & { accountIds: string[] })[]> {
    const rows = await database.tables.consent.findMany({
      where: { customerId, clientId, status: 'ACTIVE', expiresAt: { gt: now }, client: { status: 'ACTIVE' } },
      include: { accounts: { select: { accountId: true } } },
      orderBy: { activatedAt: 'desc' },
    })
    return rows.map(({ accounts, ...row }) => ({
      ...toConsent(row),
      accountIds: accounts.map(({ accountId }) => accountId),
    }))
  },

  /**
   * All consents of a customer with a client, newest first. Until `tx` ends, those that are PENDING or ACTIVE are locked and no
   * other becomes ACTIVE. To prevent deadlocks, lock all consents that are to end before anything that depends on one.
   */
  async lockByCustomer(tx: Transaction, customerId: string, clientId: string): Promise<Consent[]> {
    await lockCustomer(tx, customerId)
    await tablesIn(tx).$queryRaw`
      select 1 from consent where customer_id = ${customerId} and client_id = ${clientId}
        and status in ('PENDING', 'ACTIVE') order by id for update`
    const rows = await tablesIn(tx).consent.findMany({ where: { customerId, clientId }, orderBy: NEWEST_FIRST })
    return rows.map(toConsent)
  },

  /** Until `tx` ends, no other transaction activates a consent of the customer or withdraws several. */
  lockCustomer,

  async findByConnection(connectionId: string): Promise<Consent[]> {
    return (await database.tables.consent.findMany({ where: { connectionId } })).map(toConsent)
  },

  /**
   * Whether another active consent depends on the connection. Locks the connection until `tx` ends, so that of two consents
   * that end at the same time, the second sees the end of the first.
   */
  async sharesConnection(tx: Transaction, connectionId: string, consentId: string, now: Date): Promise<boolean> {
    await tablesIn(tx).$queryRaw`select 1 from connection where id = ${connectionId} for update`
    const where = { connectionId, id: { not: consentId }, status: 'ACTIVE', expiresAt: { gt: now } }
    return (await tablesIn(tx).consent.count({ where })) > 0
  },

  /** ACTIVE consents of a client, in no order. */
  async findActiveByClient(clientId: string, limit: number): Promise<Consent[]> {
    const where = { clientId, status: 'ACTIVE' }
    return (await database.tables.consent.findMany({ where, take: limit })).map(toConsent)
  },

  /** Changes the status. True if the consent was in `from`; of concurrent callers, only one gets true. */
  async transition(
    tx: Transaction,
    id: string,
    from: ConsentStatus,
    to: ConsentStatus,
    change: Partial<Pick<Consent, 'activatedAt' | 'endedAt' | 'endedBy'>> & {
      redeemBy?: Date
      reminderDueAt?: Date | null
    },
    /** If given, only a consent whose code should have been redeemed before this time, and was not, changes. */
    unredeemedAt?: Date,
  ): Promise<boolean> {
    const { count } = await tablesIn(tx).consent.updateMany({
      where: { id, status: from, ...(unredeemedAt && { redeemBy: { lt: unredeemedAt } }) },
      data: { ...change, status: to },
    })
    return count === 1
  },

  /** Changes a consent if it is in `status`; returns whether it was. */
  async update(
    tx: Transaction,
    id: string,
    status: ConsentStatus,
    changes: Partial<Pick<Consent, 'customerId' | 'connectionId'>>,
  ): Promise<boolean> {
    return (await tablesIn(tx).consent.updateMany({ where: { id, status }, data: changes })).count === 1
  },

  /** Whether the consent is ACTIVE. If so and `isFinal`, its authorization code counts as redeemed. */
  async redeem(tx: Transaction, oauthGrantId: string, isFinal: boolean): Promise<boolean> {
    const where = { oauthGrantId, status: 'ACTIVE' }
    if (!isFinal) return (await tablesIn(tx).consent.count({ where })) === 1
    return (await tablesIn(tx).consent.updateMany({ where, data: { redeemBy: null } })).count === 1
  },

  /** A PENDING consent, locked until `tx` ends. Undefined if it is not PENDING. */
  async lockPending(tx: Transaction, id: string): Promise<PendingConsent | undefined> {
    const [pending] = await tablesIn(tx).$queryRaw<PendingConsent[]>`
      select id, client_id as "clientId", bank_id as "bankId", customer_id as "customerId", connection_id as "connectionId"
      from consent where id = ${id} and status = 'PENDING' for update`
    return pending
  },

  /** Rejects a consent that the caller has locked as PENDING, and removes its customer from it. */
  async reject(tx: Transaction, id: string, endedAt: Date, endedBy: ConsentActor): Promise<void> {
    const data = { status: 'REJECTED', endedAt, endedBy, customerId: null }
    await tablesIn(tx).consent.update({ where: { id }, data })
  },

  /** Moves the ACTIVE consents of these connections of a customer to another connection. */
  async moveToConnection(
    tx: Transaction,
    customerId: string,
    olderConnectionIds: readonly string[],
    connectionId: string,
  ): Promise<void> {
    const where = { customerId, status: 'ACTIVE', connectionId: { in: [...olderConnectionIds] } }
    await tablesIn(tx).consent.updateMany({ where, data: { connectionId } })
  },
})

async function lockCustomer(tx: Transaction, customerId: string): Promise<void> {
  await tablesIn(tx).$executeRaw`select pg_advisory_xact_lock(hashtextextended(${`customer/${customerId}`}, 0))`
}
