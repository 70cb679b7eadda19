import type { BankAccess, BankInterface } from '../../connectors/index.ts'
import { bytesOfText, createBoundedCache } from '../../kernel/cache.ts'
import { GatewayError, toGatewayError } from '../../kernel/errors.ts'
import { startDeadline } from '../banks/index.ts'
import type { ConsentsDependencies } from './dependencies.ts'
import type { AccountAccess } from './grant.ts'
import type { Stores } from './stores.ts'
import type { ConnectionAccess, Tokens } from './tokens.ts'

/** Never stale, because a bank never changes its ID of an account. */
const REF_CACHE_OPTIONS = { maxBytes: 4_194_304, bytesOf: bytesOfText }

/** How a bank knows an account and its customer: by references as in `BankAccount` and `BankAccess`. */
export interface BankIdentity {
  /** The connector through which the customer signed in. Through another one, the bank can know the person by another reference. */
  readonly connectorId: string | undefined
  readonly accountRef: string
  readonly consentRef: string | undefined
  readonly customerRef: string | undefined
}

/** Calls banks with the tokens of the customer's connection. */
export function createBankAccess(
  { world, seal, banks }: ConsentsDependencies,
  { accounts, connections }: Stores,
  tokens: Tokens,
) {
  const refCache = createBoundedCache<string>(REF_CACHE_OPTIONS)

  return {
    /**
     * Runs `call` with the customer's bank tokens and the bank's IDs of the accounts, which must be of one connection. Renews
     * the tokens if they are due or if the bank rejects them early. All of it has the time that the bank has for a read.
     * Throws the bank's error.
     */
    async callBank<T>(
      accesses: readonly AccountAccess[],
      call: (bank: BankInterface, access: BankAccess, refs: readonly string[]) => Promise<T>,
    ): Promise<T> {
      const { connectionId, customerId } = accesses[0]!.grant
      if (accesses.some(({ grant }) => grant.connectionId !== connectionId))
        throw new TypeError('accounts of several connections in one call')
      const [connectionAccess, accountRefs] = await Promise.all([
        tokens.get(connectionId, customerId),
        findRefs(accesses.map(({ accountId }) => accountId)),
      ])
      const bank = await banks.getActiveBank(connectionAccess.connection.connectorId)
      const startedAtMs = world.timers.monotonicMs()
      if (!tokens.needRenewal(connectionAccess))
        try {
          return await call(bank, connectionAccess.access, accountRefs)
        } catch (error) {
          if (toGatewayError(error).code !== 'RECONNECT_REQUIRED' || !tokens.recordRejection(connectionAccess))
            throw error
        }
      const deadline = startDeadline(bank.deadlineMs - (world.timers.monotonicMs() - startedAtMs), world.timers)
      try {
        const access = await deadline.race(tokens.renewTokens(connectionAccess, bank))
        return await deadline.race(call(bank, access, accountRefs))
      } finally {
        deadline.stop()
      }
    },

    /** How the bank knows the account and its customer. Only the account is there if the bank has ended the connection. */
    async identifyAtBank({ accountId, grant: { connectionId, customerId } }: AccountAccess): Promise<BankIdentity> {
      const [[accountRef], found] = await Promise.all([findRefs([accountId]), findAccess(connectionId, customerId)])
      const { consentRef, customerRef } = found?.access ?? {}
      return { connectorId: found?.connection.connectorId, accountRef: accountRef!, consentRef, customerRef }
    },

    /** The ID of the open connection with this bank-side consent. Undefined if there is none. */
    async findConnectionByBankConsent(connectorId: string, consentRef: string): Promise<string | undefined> {
      const consentDigest = seal.digest('bank-consent', connectorId, consentRef)
      const connection = await connections.findByBankConsent(connectorId, consentDigest)
      return connection?.sealedAccess ? connection.id : undefined
    },

    /** Resolves when all tokens that are being renewed are stored. */
    waitUntilIdle: (): Promise<void> => tokens.waitUntilIdle(),
  }

  /** Undefined if the bank has ended the connection. */
  async function findAccess(connectionId: string, customerId: string): Promise<ConnectionAccess | undefined> {
    try {
      return await tokens.get(connectionId, customerId)
    } catch (error) {
      if (toGatewayError(error).code !== 'RECONNECT_REQUIRED') throw error
      return undefined
    }
  }

  /** The bank's IDs of accounts, in the order of `accountIds`. */
  async function findRefs(accountIds: readonly string[]): Promise<string[]> {
    const refs = new Map(accountIds.map((id) => [id, refCache.get(id)]))
    const missingIds = accountIds.filter((id) => refs.get(id) === undefined)
    if (missingIds.length > 0)
      for (const { id, refDigest, sealedRef } of await accounts.findRefs(missingIds)) {
        const ref = String(await seal.unseal(`account-ref:${refDigest}`, sealedRef))
        refs.set(id, ref)
        refCache.set(id, ref)
      }
    return accountIds.map((id) => {
      const ref = refs.get(id)
      if (ref === undefined) throw new GatewayError('NOT_FOUND', { internalMessage: 'no such account' })
      return ref
    })
  }
}
