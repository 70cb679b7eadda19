import type { Transaction } from '../../kernel/transaction.ts'
import { tablesIn, type Database } from '../../storage/database.ts'
import { consentPages } from './consent-pages.ts'
import { toConsent } from './consent-row.ts'
import { expiryStore } from './expiry-store.ts'
import type { Consent, ConsentActor, ConsentStatus } from './model.ts'

const NEWEST_FIRST = [{ createdAt: 'desc' }, { id: 'desc' }] as const satisfies object[]

/** A consent on its way, as far as its end needs it. */
type PendingConsent = Pick<Consent, 'id' | 'clientId' | 'bankId' | 'customerId' | 'connectionId'>

/** Consents. */
export const consentStore = (database: Database) => ({
  ...expiryStore(database),
  ...consentPages(database),

  async add(tx: Transaction, consent: Consent): Promise<void> {
    const { scopes, purposes, ...rest } = consent
    await tablesIn(tx).consent.create({ data: { ...rest, scopes: [...scopes], purposes: [...purposes] } })
  },

  async find(id: string): Promise<Consent | null> {
    const row = await database.tables.consent.findUnique({ where: { id } })
    return row && toConsent(row)
  },

  /** The consent, and whether the client has redeemed its authorization code. */
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

  async findActiveByAccounts(
    accountIds: readonly string[],
    scope: string,
    now: Date,
    tx?: Transaction,
  ): Promise<(Consent & { accountIds: string[] })[]> {
    const rows = await (tx ? tablesIn(tx) : database.tables).consent.findMany({
      where: {
        status: 'ACTIVE',
        expiresAt: { gt: now },
        scopes: { has: scope },
        client: { status: 'ACTIVE' },
        accounts: { some: { accountId: { in: [...accountIds] } } },
      },
      include: { accounts: { select: { accountId: true } } },
    })
    return rows.map(({ accounts, ...row }) => ({
      ...toConsent(row),
      accountIds: accounts.map(({ accountId }) => accountId),
    }))
  },

  /**
   * All consents of a customer with a client, newest first. Locks those that are PENDING or ACTIVE until `tx` ends, and keeps
   * others from becoming ACTIVE: whoever ends several must have all of them before it locks anything that depends on one.
   */
  async lockByCustomer(tx: Transaction, customerId: string, clientId: string): Promise<Consent[]> {
    await lockCustomer(tx, customerId)
    await tablesIn(tx).$queryRaw`
      select 1 from consent where customer_id = ${customerId} and client_id = ${clientId}
        and status in ('PENDING', 'ACTIVE') order by id for update`
    const rows = await tablesIn(tx).consent.findMany({ where: { customerId, clientId }, orderBy: NEWEST_FIRST })
    return rows.map(toConsent)
  },

  /** Lets no other consent of the customer become ACTIVE, and nobody withdraw several, until `tx` ends. */
  lockCustomer,

  async findByConnection(connectionId: string): Promise<Consent[]> {
    return (await database.tables.consent.findMany({ where: { connectionId } })).map(toConsent)
  },

  /**
   * Whether another live consent stands on the connection. Holds the connection until `tx` ends: of two consents that
   * end at the same moment, the second must see that the first has.
   */
  async sharesConnection(tx: Transaction, connectionId: string, consentId: string, now: Date): Promise<boolean> {
    await tablesIn(tx).$queryRaw`select 1 from connection where id = ${connectionId} for update`
    const where = { connectionId, id: { not: consentId }, status: 'ACTIVE', expiresAt: { gt: now } }
    return (await tablesIn(tx).consent.count({ where })) > 0
  },

  /** Active consents that customers gave to one client. */
  async findActiveByClient(clientId: string, limit: number): Promise<Consent[]> {
    const where = { clientId, status: 'ACTIVE' }
    return (await database.tables.consent.findMany({ where, take: limit })).map(toConsent)
  },

  /** True where the consent was in `from`; of two callers at once only one is told so. */
  async transition(
    tx: Transaction,
    id: string,
    from: ConsentStatus,
    to: ConsentStatus,
    change: Partial<Pick<Consent, 'activatedAt' | 'endedAt' | 'endedBy'>> & { redeemBy?: Date },
    /** Moves it only where its authorization code was to be redeemed before this time, and was not. */
    unredeemedAt?: Date,
  ): Promise<boolean> {
    const { count } = await tablesIn(tx).consent.updateMany({
      where: { id, status: from, ...(unredeemedAt && { redeemBy: { lt: unredeemedAt } }) },
      data: { ...change, status: to },
    })
    return count === 1
  },

  /** True where the consent is in `status` and was changed. */
  async update(
    tx: Transaction,
    id: string,
    status: ConsentStatus,
    changes: Partial<Pick<Consent, 'customerId' | 'connectionId'>>,
  ): Promise<boolean> {
    return (await tablesIn(tx).consent.updateMany({ where: { id, status }, data: changes })).count === 1
  },

  /** True while the consent is ACTIVE; notes that its code was redeemed, where it was `forGood`. */
  async redeem(tx: Transaction, oauthGrantId: string, isFinal: boolean): Promise<boolean> {
    const where = { oauthGrantId, status: 'ACTIVE' }
    if (!isFinal) return (await tablesIn(tx).consent.count({ where })) === 1
    return (await tablesIn(tx).consent.updateMany({ where, data: { redeemBy: null } })).count === 1
  },

  /** A consent that is PENDING; holds it until `tx` ends. */
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

  /** Moves the live consents that stand on these connections of a customer to another connection. */
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
