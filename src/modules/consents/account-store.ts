import type { Transaction } from '../../kernel/transaction.ts'
import { tablesIn, type Database } from '../../storage/database.ts'
import type { SharedAccount } from './model.ts'

interface AccountRow extends Omit<SharedAccount, 'type' | 'usage' | 'status' | 'bankAccountKey' | 'disclosureKey'> {
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
  lastFourDigits,
  type,
  usage,
  status,
  currencies,
  refDigest,
  numberDigest,
}: AccountRow): SharedAccount => ({
  id,
  bankAccountKey: `${bankId}/${refDigest}`,
  disclosureKey: `${bankId}/${numberDigest ?? refDigest}`,
  customerId,
  bankId,
  displayName,
  lastFourDigits,
  currencies,
  type: type as SharedAccount['type'],
  usage: usage as SharedAccount['usage'],
  status: status as SharedAccount['status'],
})

/** An account as it came from the bank, with its ref sealed and digested, and its number digested. */
export interface NewAccount extends Omit<SharedAccount, 'customerId' | 'bankId' | 'bankAccountKey' | 'disclosureKey'> {
  readonly refDigest: string
  readonly numberDigest: string | null
  readonly sealedRef: string
}

/** Customers, the names by which clients and banks know them, and the accounts that they share. */
export const accountStore = (database: Database) => ({
  async addCustomer(tx: Transaction, id: string): Promise<void> {
    await tablesIn(tx).customer.createMany({ data: [{ id }], skipDuplicates: true })
  },

  async addSubject(tx: Transaction, subject: { clientId: string; customerId: string; sub: string }): Promise<void> {
    await tablesIn(tx).pairwiseSubject.createMany({ data: [subject], skipDuplicates: true })
  },

  async findCustomerBySubject(clientId: string, sub: string): Promise<string | undefined> {
    return (await database.tables.pairwiseSubject.findUnique({ where: { clientId_sub: { clientId, sub } } }))
      ?.customerId
  },

  /** Lets nobody else decide about the person of this digest until `tx` ends. */
  async lockPerson(tx: Transaction, customerDigest: string): Promise<void> {
    await tablesIn(tx).$executeRaw`select pg_advisory_xact_lock(hashtextextended(${`person/${customerDigest}`}, 0))`
  },

  /** Customers whom the bank knows by this digest, the newest first; one whose visit is not over yet counts. */
  async findCustomersAtBank(tx: Transaction, connectorId: string, customerDigest: string): Promise<string[]> {
    const rows = await tablesIn(tx).connection.findMany({
      where: { connectorId, customerDigest },
      orderBy: { createdAt: 'desc' },
      select: { customerId: true },
    })
    return [...new Set(rows.map(({ customerId }) => customerId))]
  },

  /** Those of these customers whom the bank knows by another digest than this. */
  async findOtherCustomersAtBank(
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

  /** Customers who have shared each of these accounts of a bank. */
  async findAccountHolders(tx: Transaction, bankId: string, refDigests: readonly string[]): Promise<string[]> {
    const rows = await tablesIn(tx).account.findMany({
      where: {
        bankId,
        refDigest: { in: [...refDigests] },
        consents: { some: { consent: { activatedAt: { not: null } } } },
      },
      select: { customerId: true, refDigest: true },
    })
    const requestedCount = new Set(refDigests).size
    const accountsByCustomer = Map.groupBy(rows, ({ customerId }) => customerId)
    return [...accountsByCustomer]
      .filter(([, accounts]) => accounts.length === requestedCount)
      .map(([customerId]) => customerId)
  },

  /** Adds the accounts that are new, renews the others, and returns the ids of all. */
  async upsertAccounts(
    tx: Transaction,
    customerId: string,
    bankId: string,
    accounts: readonly NewAccount[],
  ): Promise<string[]> {
    const ids: string[] = []
    for (const { id, refDigest, ...rest } of accounts) {
      const currencies = [...rest.currencies]
      if (rest.numberDigest !== null) await recordAccountNumber(tx, bankId, refDigest, rest.numberDigest)
      const row = await tablesIn(tx).account.upsert({
        where: { customerId_bankId_refDigest: { customerId, bankId, refDigest } },
        create: { id, customerId, bankId, refDigest, ...rest, currencies },
        update: {
          status: rest.status,
          displayName: rest.displayName,
          // A bank that leaves the number out once renews no limit.
          ...(rest.numberDigest !== null && { numberDigest: rest.numberDigest }),
        },
        select: { id: true },
      })
      const [mainCurrency] = currencies
      // A bank that names no currency any more takes none away.
      if (mainCurrency !== undefined)
        await tablesIn(tx).$executeRaw`
          update account set currencies = array[${mainCurrency}]::text[] || array_remove(currencies, ${mainCurrency})
          where id = ${row.id} and currencies[1] is distinct from ${mainCurrency}`
      ids.push(row.id)
    }
    return ids
  },

  async shareAccounts(tx: Transaction, consentId: string, accountIds: readonly string[]): Promise<void> {
    await tablesIn(tx).consentAccount.createMany({ data: accountIds.map((accountId) => ({ consentId, accountId })) })
  },

  async findAccounts(ids: readonly string[]): Promise<SharedAccount[]> {
    const rows = await database.tables.account.findMany({
      where: { id: { in: [...ids] } },
      orderBy: { sequence: 'asc' },
    })
    return rows.map(toAccount)
  },

  async findAccountIdsByRef(tx: Transaction, bankId: string, refDigests: readonly string[]): Promise<string[]> {
    const rows = await tablesIn(tx).account.findMany({
      where: { bankId, refDigest: { in: [...refDigests] } },
      select: { id: true },
    })
    return rows.map(({ id }) => id)
  },

  findAccountRefs: (accountIds: readonly string[]): Promise<{ id: string; refDigest: string; sealedRef: string }[]> =>
    database.tables.account.findMany({
      where: { id: { in: [...accountIds] } },
      select: { id: true, refDigest: true, sealedRef: true },
    }),

  /**
   * Appends currencies to an account at its bank, for everybody who shares it now, and returns those customers. Those that an
   * account has stay where they are.
   */
  async addCurrencies(
    tx: Transaction,
    bankId: string,
    refDigest: string,
    currencies: readonly string[],
  ): Promise<string[]> {
    const rows = await tablesIn(tx).$queryRaw<{ customer_id: string }[]>`
      update account set currencies = currencies || array(
        select code from unnest(${[...currencies]}::text[]) with ordinality as added (code, place)
        where code <> all(account.currencies) order by place)
      where bank_id = ${bankId} and ref_digest = ${refDigest} and not currencies @> ${[...currencies]}::text[] and exists (
        select 1 from consent_account shared join consent on consent.id = shared.consent_id
        where shared.account_id = account.id and consent.status = 'ACTIVE')
      returning customer_id`
    return rows.map(({ customer_id: customerId }) => customerId)
  },

  /** Deletes the stored balances of the consent's accounts that no live consent of anybody covers any more. */
  async deleteUnsharedSnapshots(tx: Transaction, consentId: string, now: Date): Promise<void> {
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
  },
})

/**
 * Notes the number of an account that was known by the bank's own id alone, for everybody who shares it. What was disclosed of
 * it counts on under the number: otherwise a bank that begins to give numbers would renew every limit. The old row stays for
 * whoever has the account cached without its number.
 */
async function recordAccountNumber(
  tx: Transaction,
  bankId: string,
  refDigest: string,
  numberDigest: string,
): Promise<void> {
  const { count } = await tablesIn(tx).account.updateMany({
    where: { bankId, refDigest, numberDigest: null },
    data: { numberDigest },
  })
  if (count === 0) return
  await tablesIn(tx).$executeRaw`
    insert into disclosure as known (disclosure_key, exact_at, exact_type, threshold_at, updated_at)
    select ${`${bankId}/${numberDigest}`}, exact_at, exact_type, threshold_at, updated_at
    from disclosure where disclosure_key = ${`${bankId}/${refDigest}`}
    on conflict (disclosure_key) do update set
      exact_at = case when known.exact_type <> excluded.exact_type
        then array_fill(greatest(known.updated_at, excluded.updated_at), array[4])
        else known.exact_at || excluded.exact_at end,
      exact_type = coalesce(known.exact_type, excluded.exact_type),
      threshold_at = known.threshold_at || excluded.threshold_at,
      updated_at = greatest(known.updated_at, excluded.updated_at)`
}
