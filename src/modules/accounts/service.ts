import { chain, isPromise, type MaybePromise } from '../../kernel/maybe-promise.ts'
import { GatewayError, toGatewayError } from '../../kernel/errors.ts'
import { errorTrace } from '../../kernel/log.ts'
import { problemOf, problemOfError, type Problem } from '../../kernel/problem.ts'
import type { CustomerCaller, RequestContext } from '../../kernel/request-context.ts'
import type { CustomerScope } from '../../kernel/scopes.ts'
import type { AccountAccess, SharedAccess } from '../consents/index.ts'
import type { LedgerAction } from '../ledger/index.ts'
import { createAmounts } from './amounts.ts'
import { authorizeBalances, createAuthorization, matchesFilter } from './authorization.ts'
import { createBands } from './bands.ts'
import { allUnavailable, toUnavailable } from './currencies.ts'
import type { AccountsDependencies } from './dependencies.ts'
import { budgetsOf, type DisclosureBudgets } from './disclosure.ts'
import { disclosureStore } from './disclosure-store.ts'
import {
  openAccount,
  type AccountFilter,
  type AuthorizedAccount,
  type BalanceAtLeast,
  type BalanceResult,
  type BalanceUnavailable,
  type ExactQuery,
  type ThresholdQuery,
} from './model.ts'
import { createSnapshots } from './snapshots.ts'
import { createThresholds } from './thresholds.ts'

/** Accounts and balances, across all of a customer's banks. */
export interface Accounts {
  /** The accounts of the caller's customer under active consents with the caller's client, in an order that does not change. */
  list(
    caller: CustomerCaller,
    context: RequestContext,
    filter?: AccountFilter | null,
  ): MaybePromise<readonly AuthorizedAccount[]>
  /**
   * One result per currency, never none: the most that token, consent, presence and limit allow, and no more than `detail`. What
   * was disclosed is in the ledger before a bank is asked.
   */
  balances(query: ExactQuery, detail: 'EXACT' | 'BAND', context: RequestContext): MaybePromise<readonly BalanceResult[]>
  /** Whether a balance is certainly at least so much, or why that is not known. */
  atLeast(query: ThresholdQuery, context: RequestContext): MaybePromise<BalanceAtLeast | BalanceUnavailable>
  /** Access to an account for a scope, as far as the customer agreed and whatever the token says. */
  open(row: AuthorizedAccount, scope: CustomerScope): AccountAccess | undefined
  /** What is left of each account's limits, over all clients; an account is named by its `disclosureKey`. */
  budgets(disclosureKeys: readonly string[]): Promise<DisclosureBudgets[]>
  /** Resolves once all that was read is saved. */
  waitUntilIdle(): Promise<void>
  /** Deletes claims that ended long ago; returns how many. */
  deleteStaleClaims(): Promise<number>
  /** Gives every account its whole limits again; returns how many had used some. For a sandbox only. */
  resetDisclosures(): Promise<number>
  /** Deletes disclosures that no longer count; returns how many rows. */
  deleteExpiredDisclosures(): Promise<number>
}

/** How one read is done: with which access, as what in the ledger, and what it comes to if it fails. */
interface BalanceRead<A> {
  readonly type: ExactQuery['type']
  readonly access: AccountAccess
  readonly action: LedgerAction
  readonly read: () => MaybePromise<A>
  readonly onFailure: (reason: Problem) => A
}

/** Balances by grant: written in the ledger first, fetched once for all who ask, absent with a reason where there are none. */
export function createAccounts(dependencies: AccountsDependencies): Accounts {
  const { database, world, seal, consents, ledger } = dependencies
  const { clock } = world
  const disclosures = disclosureStore(database)
  const snapshots = createSnapshots(dependencies, disclosures)
  const bands = createBands({ snapshots, ledger, seal, clock })
  const amounts = createAmounts({ snapshots, disclosures, bands, ledger, clock })
  const thresholds = createThresholds({ disclosures, bands, ledger, clock })
  const authorization = createAuthorization(seal)
  const readBalance = createBalanceReader(dependencies)

  return {
    list(caller, context, filter) {
      const authorize = (shared: SharedAccess): readonly AuthorizedAccount[] => {
        const now = clock.now()
        for (const grant of shared.grants)
          for (const access of grant.openAll('accounts:read', now))
            ledger.addRead(context, { action: 'READ_ACCOUNTS', access })
        const rows = authorization.accountsOf(shared, caller.clientId, now)
        return filter ? rows.filter(matchesFilter(filter)) : rows
      }
      return chain(consents.findShared(caller), authorize)
    },

    balances(query, detail, context) {
      const { row, type } = query
      const onFailure = (reason: Problem): readonly BalanceResult[] => allUnavailable(query, reason)
      const { access, fallbackCode } = authorizeBalances(row, detail, context, clock.now())
      if (!access) return onFailure(problemOf('NOT_CONSENTED'))
      const target = { type, access, onFailure }
      if (fallbackCode === undefined) {
        const read = (): MaybePromise<readonly BalanceResult[]> => amounts.read(query, access, context)
        return readBalance(context, { ...target, action: 'READ_BALANCES', read })
      }
      const fallbackReason = fallbackCode && problemOf(fallbackCode)
      const read = (): MaybePromise<readonly BalanceResult[]> => bands.read(query, access, context, fallbackReason)
      return readBalance(context, { ...target, action: 'READ_BALANCE_BAND', read })
    },

    atLeast(query, context) {
      const { row, type, threshold } = query
      const onFailure = (reason: Problem) => toUnavailable(query, threshold.currency, reason)
      const access = openAccount(row, 'balances:threshold', clock.now())
      if (!access) return onFailure(problemOf('NOT_CONSENTED'))
      const read = () => thresholds.read(query, access, context)
      const target = { type, access, onFailure, action: 'READ_BALANCE_AT_LEAST', read } as const
      return readBalance<BalanceAtLeast | BalanceUnavailable>(context, target)
    },

    open: (row, scope) => openAccount(row, scope, clock.now()),

    async budgets(disclosureKeys) {
      const histories = await disclosures.findHistories(disclosureKeys)
      const now = clock.now()
      return disclosureKeys.map((key) => budgetsOf(histories.get(key)!, now))
    },

    waitUntilIdle: () => snapshots.waitUntilIdle(),
    deleteStaleClaims: () => snapshots.deleteStaleClaims(),
    resetDisclosures: () => disclosures.reset(),
    deleteExpiredDisclosures: () => disclosures.deleteExpired(clock.now()),
  }
}

/** Reads under a grant: noted in the ledger first, and what goes wrong is a typed reason. */
function createBalanceReader({ ledger, banks, world: { log, clock } }: AccountsDependencies) {
  function toProblem(thrown: unknown): Problem {
    const error = toGatewayError(thrown)
    if (error.code === 'INTERNAL') log.error('balance.read_failed', { code: error.code, trace: errorTrace(error) })
    return problemOfError(error, clock.now())
  }

  return function readBalance<A>(
    context: RequestContext,
    { type, access, action, read, onFailure }: BalanceRead<A>,
  ): MaybePromise<A> {
    const fail = (thrown: unknown): A => onFailure(toProblem(thrown))
    ledger.addRead(context, { action, access, detail: type })
    const readIfActive = (isActive: boolean): MaybePromise<A> => {
      if (!isActive) return fail(new GatewayError('BANK_UNAVAILABLE', { internalMessage: 'no active connector' }))
      try {
        const result = read()
        return isPromise(result) ? result.catch(fail) : result
      } catch (error) {
        return fail(error)
      }
    }
    return chain(banks.isActive(access.grant.bankId), readIfActive)
  }
}
