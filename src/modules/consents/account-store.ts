import type { Transaction } from '../../kernel/transaction.ts'
import { tablesIn, type Database } from '../../storage/database.ts'
import { accountKey, type SharedAccount } from './model.ts'

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
  bankAccountKey: accountKey(bankId, refDigest),
  disclosureKey: accountKey(bankId, numberDigest ?? refDigest),
  customerId,
  bankId,
  displayName,
  lastFourDigits,
  currencies,
  type: type as SharedAccount['type'],
  usage: usage as SharedAccount['usage'],
  status: status as SharedAccount['status'],
})

/** An account from the bank. The bank's ID of it is sealed and digested; its number is only digested. */
export interface NewAccount extends Omit<SharedAccount, 'customerId' | 'bankId' | 'bankAccountKey' | 'disclosureKey'> {
  readonly refDigest: string
  readonly numberDigest: string | null
  readonly sealedRef: string
}

/** Accounts, and which consents share them. */
export const accountStore = (database: Database) => ({
  /** Customers who have shared every one of these accounts of a bank under a consent that was ACTIVE. */
  async findHolders(tx: Transaction, bankId: string, refDigests: readonly string[]): Promise<string[]> {
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

  /**
   * Stores the number of an account that the bank gave only its own ID for until now, for every customer who shares it. False
   * if nobody has shared it, or if its number is known.
   */
  async recordNumber(tx: Transaction, bankId: string, refDigest: string, numberDigest: string): Promise<boolean> {
    const where = { bankId, refDigest, numberDigest: null }
    return (await tablesIn(tx).account.updateMany({ where, data: { numberDigest } })).count > 0
  },

  /** Adds an account of a customer, or updates it if they shared it before; returns its ID. */
  async upsert(
    tx: Transaction,
    customerId: string,
    bankId: string,
    { id, refDigest, ...account }: NewAccount,
  ): Promise<string> {
    const currencies = [...account.currencies]
    const row = await tablesIn(tx).account.upsert({
      where: { customerId_bankId_refDigest: { customerId, bankId, refDigest } },
      create: { id, customerId, bankId, refDigest, ...account, currencies },
      update: {
        status: account.status,
        displayName: account.displayName,
        // If the bank omits the number once, the known number remains, and with it the limit that it names.
        ...(account.numberDigest !== null && { numberDigest: account.numberDigest }),
      },
      select: { id: true },
    })
    const [mainCurrency] = currencies
    // If the bank names no currency any more, the known ones remain.
    if (mainCurrency !== undefined)
      await tablesIn(tx).$executeRaw`
        update account set currencies = array[${mainCurrency}]::text[] || array_remove(currencies, ${mainCurrency})
        where id = ${row.id} and currencies[1] is distinct from ${mainCurrency}`
    return row.id
  },

  async share(tx: Transaction, consentId: string, accountIds: readonly string[]): Promise<void> {
    await tablesIn(tx).consentAccount.createMany({ data: accountIds.map((accountId) => ({ consentId, accountId })) })
  },

  /** Removes all accounts from a consent, and deletes those that belong to no other consent and have no alerts. */
  async unshare(tx: Transaction, consentId: string): Promise<void> {
    const tables = tablesIn(tx)
    const shared = await tables.consentAccount.findMany({ where: { consentId }, select: { accountId: true } })
    await tables.consentAccount.deleteMany({ where: { consentId } })
    const ids = shared.map(({ accountId }) => accountId)
    await tables.account.deleteMany({ where: { id: { in: ids }, consents: { none: {} }, alerts: { none: {} } } })
  },

  async findMany(ids: readonly string[]): Promise<SharedAccount[]> {
    const rows = await database.tables.account.findMany({
      where: { id: { in: [...ids] } },
      orderBy: { sequence: 'asc' },
    })
    return rows.map(toAccount)
  },

  findRefs: (accountIds: readonly string[]): Promise<{ id: string; refDigest: string; sealedRef: string }[]> =>
    database.tables.account.findMany({
      where: { id: { in: [...accountIds] } },
      select: { id: true, refDigest: true, sealedRef: true },
    }),

  /**
   * Appends currencies that an account at its bank does not have yet, for every customer with an ACTIVE consent for it; returns
   * those customers.
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
})
