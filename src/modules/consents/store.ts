import type { Transaction } from '../../kernel/transaction.ts'
import { isCustomerScope, isPurpose } from '../../kernel/scopes.ts'
import { within, type Database } from '../../storage/database.ts'
import { connectionStore } from './connection-store.ts'
import type { Consent, ConsentFilter, ConsentState, Receipt, RevokedBy, SharedAccount } from './model.ts'
import { signInStore } from './sign-in-store.ts'

interface ConsentRow extends Omit<Consent, 'state' | 'scopes' | 'purposes' | 'revokedBy'> {
  state: string
  scopes: string[]
  purposes: string[]
  revokedBy: string | null
}

const toConsent = ({ state, scopes, purposes, revokedBy, ...row }: ConsentRow): Consent => ({
  ...row,
  state: state as ConsentState,
  scopes: scopes.filter(isCustomerScope),
  purposes: purposes.filter(isPurpose),
  revokedBy: revokedBy as RevokedBy | null,
})

interface AccountRow extends Omit<SharedAccount, 'type' | 'usage' | 'status' | 'bankAccount' | 'disclosureKey'> {
  refDigest: string
  numberDigest: string | null
  type: string
  usage: string
  status: string
}

const toAccount = ({
  id,
  customerId,
  bankId,
  displayName,
  numberEnd,
  type,
  usage,
  status,
  currency,
  refDigest,
  numberDigest,
}: AccountRow): SharedAccount => ({
  id,
  bankAccount: `${bankId}/${refDigest}`,
  disclosureKey: `${bankId}/${numberDigest ?? refDigest}`,
  customerId,
  bankId,
  displayName,
  numberEnd,
  currency,
  type: type as SharedAccount['type'],
  usage: usage as SharedAccount['usage'],
  status: status as SharedAccount['status'],
})

/** An account as it came from the bank, with its ref sealed and digested, and its number digested. */
export interface NewAccount extends Omit<SharedAccount, 'customerId' | 'bankId' | 'bankAccount' | 'disclosureKey'> {
  readonly refDigest: string
  readonly numberDigest: string | null
  readonly sealedRef: string
}

/** A consent on its way, as far as its end needs it. */
type Pending = Pick<Consent, 'id' | 'clientId' | 'bankId' | 'customerId' | 'connectionId'>

/** Customers, their consents and the accounts that they share, with all that belongs to a consent. */
export const consentStore = (database: Database) => ({
  ...signInStore(database),
  ...connectionStore(database),

  async add(tx: Transaction, consent: Consent): Promise<void> {
    const { scopes, purposes, ...rest } = consent
    await within(tx).consent.create({ data: { ...rest, scopes: [...scopes], purposes: [...purposes] } })
  },

  async find(id: string): Promise<Consent | null> {
    const row = await database.tables.consent.findUnique({ where: { id } })
    return row && toConsent(row)
  },

  /** The consent, and whether the client has redeemed its authorization code. */
  async withRedemption(id: string): Promise<{ consent: Consent; isRedeemed: boolean } | undefined> {
    const row = await database.tables.consent.findUnique({ where: { id } })
    return row ? { consent: toConsent(row), isRedeemed: row.activatedAt !== null && row.redeemBy === null } : undefined
  },

  async byOauthGrant(oauthGrantId: string): Promise<Consent | null> {
    const row = await database.tables.consent.findUnique({ where: { oauthGrantId } })
    return row && toConsent(row)
  },

  async ofCustomer(customerId: string, clientId?: string): Promise<Consent[]> {
    const where = { customerId, ...(clientId !== undefined && { clientId }) }
    return (await database.tables.consent.findMany({ where, orderBy: { createdAt: 'desc' } })).map(toConsent)
  },

  /** A client's consents, the newest first, after the one with the id of `after`. */
  async ofClient(
    clientId: string,
    { states, bankIds, expiringBefore }: ConsentFilter,
    after: Consent | null,
    limit: number,
  ): Promise<Consent[]> {
    const rows = await database.tables.consent.findMany({
      where: {
        clientId,
        ...(states && { state: { in: [...states] } }),
        ...(bankIds && { bankId: { in: [...bankIds] } }),
        AND: [
          expiringBefore ? { state: 'ACTIVE', expiresAt: { lt: expiringBefore } } : {},
          after
            ? { OR: [{ createdAt: { lt: after.createdAt } }, { createdAt: after.createdAt, id: { lt: after.id } }] }
            : {},
        ],
      },
      orderBy: [{ createdAt: 'desc' }, { id: 'desc' }],
      take: limit,
    })
    return rows.map(toConsent)
  },

  async liveOf(customerId: string, clientId: string, now: Date): Promise<(Consent & { accountIds: string[] })[]> {
    const rows = await database.tables.consent.findMany({
      where: { customerId, clientId, state: 'ACTIVE', expiresAt: { gt: now }, client: { state: 'ACTIVE' } },
      include: { accounts: { select: { accountId: true } } },
      orderBy: { activatedAt: 'desc' },
    })
    return rows.map(({ accounts, ...row }) => ({
      ...toConsent(row),
      accountIds: accounts.map(({ accountId }) => accountId),
    }))
  },

  async liveOn(
    accountIds: readonly string[],
    scope: string,
    now: Date,
    tx?: Transaction,
  ): Promise<(Consent & { accountIds: string[] })[]> {
    const rows = await (tx ? within(tx) : database.tables).consent.findMany({
      where: {
        state: 'ACTIVE',
        expiresAt: { gt: now },
        scopes: { has: scope },
        client: { state: 'ACTIVE' },
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
   * A customer's consents with a client that are PENDING or ACTIVE. Holds them until `tx` ends, and keeps others from becoming
   * ACTIVE: whoever ends several must have all of them before it holds anything that hangs on one.
   */
  async holdUnended(tx: Transaction, customerId: string, clientId: string): Promise<Consent[]> {
    await holdCustomer(tx, customerId)
    const held = await within(tx).$queryRaw<{ id: string }[]>`
      select id from consent where customer_id = ${customerId} and client_id = ${clientId}
        and state in ('PENDING', 'ACTIVE') order by id for update`
    const rows = await within(tx).consent.findMany({ where: { id: { in: held.map(({ id }) => id) } } })
    return rows.map(toConsent)
  },

  /** Lets no other consent of the customer become ACTIVE, and nobody withdraw several, until `tx` ends. */
  holdCustomer,

  async onConnection(connectionId: string): Promise<Consent[]> {
    return (await database.tables.consent.findMany({ where: { connectionId } })).map(toConsent)
  },

  /**
   * Whether another live consent stands on the connection. Holds the connection until `tx` ends: of two consents that
   * end at the same moment, the second must see that the first has.
   */
  async sharesConnection(tx: Transaction, connectionId: string, consentId: string, now: Date): Promise<boolean> {
    await within(tx).$queryRaw`select 1 from connection where id = ${connectionId} for update`
    const where = { connectionId, id: { not: consentId }, state: 'ACTIVE', expiresAt: { gt: now } }
    return (await within(tx).consent.count({ where })) > 0
  },

  /** Wishes of customers who never came back from the bank. */
  async abandoned(before: Date, limit: number): Promise<Consent[]> {
    const where = { state: 'PENDING', createdAt: { lt: before } }
    return (await database.tables.consent.findMany({ where, take: limit })).map(toConsent)
  },

  async due(now: Date, limit: number): Promise<Consent[]> {
    const where = { state: 'ACTIVE', expiresAt: { lte: now } }
    return (await database.tables.consent.findMany({ where, take: limit })).map(toConsent)
  },

  /** Active consents that customers gave to one client. */
  async liveOfClient(clientId: string, limit: number): Promise<Consent[]> {
    const where = { clientId, state: 'ACTIVE' }
    return (await database.tables.consent.findMany({ where, take: limit })).map(toConsent)
  },

  /** Active consents whose authorization code was not redeemed in time. */
  async unredeemed(now: Date, limit: number): Promise<Consent[]> {
    const where = { state: 'ACTIVE', redeemBy: { lt: now } }
    return (await database.tables.consent.findMany({ where, take: limit })).map(toConsent)
  },

  /** True where the consent was in `from`; of two callers at once only one is told so. */
  async move(
    tx: Transaction,
    id: string,
    from: ConsentState,
    to: ConsentState,
    change: Partial<Pick<Consent, 'activatedAt' | 'endedAt' | 'revokedBy'>> & { redeemBy?: Date },
    /** Moves it only where its authorization code was to be redeemed before this time, and was not. */
    unredeemedAt?: Date,
  ): Promise<boolean> {
    const { count } = await within(tx).consent.updateMany({
      where: { id, state: from, ...(unredeemedAt && { redeemBy: { lt: unredeemedAt } }) },
      data: { ...change, state: to },
    })
    return count === 1
  },

  /** True where the consent is in `state` and was changed. */
  async change(
    tx: Transaction,
    id: string,
    state: ConsentState,
    change: Partial<Pick<Consent, 'customerId' | 'connectionId' | 'oauthGrantId'>>,
  ): Promise<boolean> {
    return (await within(tx).consent.updateMany({ where: { id, state }, data: change })).count === 1
  },

  /** True while the consent is ACTIVE; notes that its code was redeemed, where it was `forGood`. */
  async redeem(tx: Transaction, oauthGrantId: string, forGood: boolean): Promise<boolean> {
    const where = { oauthGrantId, state: 'ACTIVE' }
    if (!forGood) return (await within(tx).consent.count({ where })) === 1
    return (await within(tx).consent.updateMany({ where, data: { redeemBy: null } })).count === 1
  },

  /** A consent that is PENDING; holds it until `tx` ends. */
  async pending(tx: Transaction, id: string): Promise<Pending | undefined> {
    const [pending] = await within(tx).$queryRaw<Pending[]>`
      select id, client_id as "clientId", bank_id as "bankId", customer_id as "customerId", connection_id as "connectionId"
      from consent where id = ${id} and state = 'PENDING' for update`
    return pending
  },

  /**
   * Rejects a consent that is held as PENDING, and deletes what only it shares or says of its customer: they have agreed to
   * nothing.
   */
  async reject(tx: Transaction, { id, clientId, customerId, connectionId }: Pending, now: Date): Promise<void> {
    const tables = within(tx)
    await tables.consent.update({ where: { id }, data: { state: 'REJECTED', endedAt: now, customerId: null } })
    const shared = await tables.consentAccount.findMany({ where: { consentId: id }, select: { accountId: true } })
    await tables.consentAccount.deleteMany({ where: { consentId: id } })
    const ids = shared.map(({ accountId }) => accountId)
    await tables.account.deleteMany({ where: { id: { in: ids }, consents: { none: {} }, alerts: { none: {} } } })
    if (connectionId) await tables.connection.update({ where: { id: connectionId }, data: { customerDigest: null } })
    const other = { OR: [{ activatedAt: { not: null } }, { state: 'PENDING' }] }
    if (customerId)
      await tables.subject.deleteMany({ where: { clientId, customerId, customer: { consents: { none: other } } } })
  },

  // Customers and what they share

  async addCustomer(tx: Transaction, id: string): Promise<void> {
    await within(tx).customer.createMany({ data: [{ id }], skipDuplicates: true })
  },

  async addSubject(tx: Transaction, subject: { clientId: string; customerId: string; sub: string }): Promise<void> {
    await within(tx).subject.createMany({ data: [subject], skipDuplicates: true })
  },

  async customerOf(clientId: string, sub: string): Promise<string | undefined> {
    return (await database.tables.subject.findUnique({ where: { clientId_sub: { clientId, sub } } }))?.customerId
  },

  /** Lets nobody else decide about the person of this digest until `tx` ends. */
  async lockPerson(tx: Transaction, customerDigest: string): Promise<void> {
    await within(tx).$executeRaw`select pg_advisory_xact_lock(hashtextextended(${`person/${customerDigest}`}, 0))`
  },

  /** Customers whom the bank knows by this digest, the newest first; one whose visit is not over yet counts. */
  async customersAtBank(tx: Transaction, connectorId: string, customerDigest: string): Promise<string[]> {
    const rows = await within(tx).connection.findMany({
      where: { connectorId, customerDigest },
      orderBy: { createdAt: 'desc' },
      select: { customerId: true },
    })
    return [...new Set(rows.map(({ customerId }) => customerId))]
  },

  /** Those of these customers whom the bank knows by another digest than this. */
  async othersAtBank(
    tx: Transaction,
    connectorId: string,
    customerDigest: string,
    customerIds: readonly string[],
  ): Promise<string[]> {
    const rows = await within(tx).connection.findMany({
      where: {
        connectorId,
        customerId: { in: [...customerIds] },
        AND: [{ customerDigest: { not: null } }, { customerDigest: { not: customerDigest } }],
      },
      select: { customerId: true },
    })
    return [...new Set(rows.map(({ customerId }) => customerId))]
  },

  /** Customers who have shared each of these accounts of a bank. */
  async accountHolders(tx: Transaction, bankId: string, refDigests: readonly string[]): Promise<string[]> {
    const rows = await within(tx).account.findMany({
      where: {
        bankId,
        refDigest: { in: [...refDigests] },
        consents: { some: { consent: { activatedAt: { not: null } } } },
      },
      select: { customerId: true, refDigest: true },
    })
    const all = new Set(refDigests).size
    const held = Map.groupBy(rows, ({ customerId }) => customerId)
    return [...held].filter(([, accounts]) => accounts.length === all).map(([customerId]) => customerId)
  },

  /** Moves the live consents that stand on these connections of a customer to another connection. */
  async takeOver(
    tx: Transaction,
    customerId: string,
    olderConnectionIds: readonly string[],
    connectionId: string,
  ): Promise<void> {
    const where = { customerId, state: 'ACTIVE', connectionId: { in: [...olderConnectionIds] } }
    await within(tx).consent.updateMany({ where, data: { connectionId } })
  },

  /** Adds the accounts that are new, renews the others, and returns the ids of all. */
  async keepAccounts(
    tx: Transaction,
    customerId: string,
    bankId: string,
    accounts: readonly NewAccount[],
  ): Promise<string[]> {
    const ids: string[] = []
    for (const { id, refDigest, ...rest } of accounts) {
      if (rest.numberDigest !== null) await learnNumber(tx, bankId, refDigest, rest.numberDigest)
      const row = await within(tx).account.upsert({
        where: { customerId_bankId_refDigest: { customerId, bankId, refDigest } },
        create: { id, customerId, bankId, refDigest, ...rest },
        update: {
          status: rest.status,
          displayName: rest.displayName,
          // A bank that leaves the number out once renews no limit.
          ...(rest.numberDigest !== null && { numberDigest: rest.numberDigest }),
        },
        select: { id: true },
      })
      ids.push(row.id)
    }
    return ids
  },

  async share(tx: Transaction, consentId: string, accountIds: readonly string[]): Promise<void> {
    await within(tx).consentAccount.createMany({ data: accountIds.map((accountId) => ({ consentId, accountId })) })
  },

  async accounts(ids: readonly string[]): Promise<SharedAccount[]> {
    const rows = await database.tables.account.findMany({
      where: { id: { in: [...ids] } },
      orderBy: { sequence: 'asc' },
    })
    return rows.map(toAccount)
  },

  async accountIdsByRef(tx: Transaction, bankId: string, refDigests: readonly string[]): Promise<string[]> {
    const rows = await within(tx).account.findMany({
      where: { bankId, refDigest: { in: [...refDigests] } },
      select: { id: true },
    })
    return rows.map(({ id }) => id)
  },

  refs: (accountIds: readonly string[]): Promise<{ id: string; refDigest: string; sealedRef: string }[]> =>
    database.tables.account.findMany({
      where: { id: { in: [...accountIds] } },
      select: { id: true, refDigest: true, sealedRef: true },
    }),

  /** Deletes the stored balances of the consent's accounts that no live consent of anybody covers any more. */
  async forgetBalances(tx: Transaction, consentId: string, now: Date): Promise<void> {
    await within(tx).$executeRaw`
      delete from snapshot where bank_account in (
        select account.bank_id || '/' || account.ref_digest from account
        join consent_account shared on shared.account_id = account.id where shared.consent_id = ${consentId})
      and not exists (
        select 1 from account join consent_account shared on shared.account_id = account.id
        join consent on consent.id = shared.consent_id
        where account.bank_id = split_part(snapshot.bank_account, '/', 1)
          and account.ref_digest = split_part(snapshot.bank_account, '/', 2)
          and consent.state = 'ACTIVE' and consent.expires_at > ${now})`
  },

  // Receipts

  async addReceipts(
    tx: Transaction,
    consentId: string,
    receipts: readonly (Receipt & { id: string })[],
    at: Date,
  ): Promise<void> {
    await within(tx).receipt.createMany({ data: receipts.map((receipt) => ({ ...receipt, consentId, at })) })
  },

  async settleBankReceipts(consentIds: readonly string[], result: Receipt['result'], at: Date): Promise<void> {
    await database.tables.receipt.updateMany({
      where: { consentId: { in: [...consentIds] }, kind: 'REVOKED', party: 'BANK' },
      data: { result, at },
    })
  },

  async receipts(consentId: string): Promise<Receipt[]> {
    const rows = await database.tables.receipt.findMany({ where: { consentId }, orderBy: { at: 'asc' } })
    return rows.map(({ kind, party, result }) => ({ kind, party, result }) as Receipt)
  },
})
async function holdCustomer(tx: Transaction, customerId: string): Promise<void> {
  await within(tx).$executeRaw`select pg_advisory_xact_lock(hashtextextended(${`customer/${customerId}`}, 0))`
}

/** The store as `opt-in.ts` takes it. */
export type ConsentStore = ReturnType<typeof consentStore>

/**
 * Notes the number of an account that was known by the bank's own id alone, for everybody who shares it. What was disclosed of
 * it counts on under the number: otherwise a bank that begins to give numbers would renew every limit. The old row stays for
 * whoever has the account cached without its number.
 */
async function learnNumber(tx: Transaction, bankId: string, refDigest: string, numberDigest: string): Promise<void> {
  const { count } = await within(tx).account.updateMany({
    where: { bankId, refDigest, numberDigest: null },
    data: { numberDigest },
  })
  if (count === 0) return
  await within(tx).$executeRaw`
    insert into disclosure as known (account_key, amounts_at, amount_type, questions_at, changed_at)
    select ${`${bankId}/${numberDigest}`}, amounts_at, amount_type, questions_at, changed_at
    from disclosure where account_key = ${`${bankId}/${refDigest}`}
    on conflict (account_key) do update set
      amounts_at = case when known.amount_type <> excluded.amount_type
        then array_fill(greatest(known.changed_at, excluded.changed_at), array[4])
        else known.amounts_at || excluded.amounts_at end,
      amount_type = coalesce(known.amount_type, excluded.amount_type),
      questions_at = known.questions_at || excluded.questions_at,
      changed_at = greatest(known.changed_at, excluded.changed_at)`
}
