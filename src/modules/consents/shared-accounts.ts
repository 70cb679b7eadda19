import type { BankAccount } from '../../connectors/index.ts'
import { newId } from '../../kernel/ids.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import type { NewAccount } from './account-store.ts'
import type { ConsentsDependencies } from './dependencies.ts'
import { accountKey, type SharedAccount } from './model.ts'
import type { Stores } from './stores.ts'

/** Stores the accounts that customers share. */
export type SharedAccounts = ReturnType<typeof createSharedAccounts>

/** Stores the accounts that customers share, with the bank's ID of each sealed. */
export function createSharedAccounts(
  { database, world, seal, signals, handlers }: ConsentsDependencies,
  { accounts }: Stores,
) {
  const refDigestOf = (bankId: string, ref: string): string => seal.digest('account-ref', bankId, ref)

  return {
    /** Prepares accounts of a bank for `storeAccounts`, outside of its transaction. */
    sealAccounts: (bankId: string, bankAccounts: readonly BankAccount[]): Promise<NewAccount[]> =>
      Promise.all(
        bankAccounts.map(async ({ ref, number, currency, ...account }) => {
          const refDigest = refDigestOf(bankId, ref)
          const sealedRef = await seal.seal(`account-ref:${refDigest}`, ref)
          // With the currency, because accounts in several currencies can have one number.
          const numberDigest = number && seal.digest('account-number', bankId, number, currency ?? '')
          const currencies = currency === null ? [] : [currency]
          return { ...account, id: newId('acct', world.randomness), currencies, refDigest, numberDigest, sealedRef }
        }),
      ),

    /** Adds or updates accounts of a customer, and shares them under a consent. */
    async storeAccounts(
      tx: Transaction,
      { customerId, bankId, consentId }: { customerId: string; bankId: string; consentId: string },
      newAccounts: readonly NewAccount[],
    ): Promise<void> {
      const ids: string[] = []
      for (const account of newAccounts) {
        const { refDigest, numberDigest } = account
        if (numberDigest !== null && (await accounts.recordNumber(tx, bankId, refDigest, numberDigest)))
          await handlers.onDisclosureKeyChanged(tx, accountKey(bankId, refDigest), accountKey(bankId, numberDigest))
        ids.push(await accounts.upsert(tx, customerId, bankId, account))
      }
      await accounts.share(tx, consentId, ids)
    },

    /** Appends currencies that a balance showed to an account at its bank, for every customer who shares it. */
    async addCurrencies(account: SharedAccount, currencies: readonly string[]): Promise<void> {
      const [bankId, refDigest] = account.bankAccountKey.split('/') as [string, string]
      await database.transaction(async (tx) => {
        for (const customerId of await accounts.addCurrencies(tx, bankId, refDigest, currencies))
          await signals.publish(tx, { kind: 'ACCOUNTS', customerId })
      })
    },
  }
}
