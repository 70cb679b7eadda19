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
import { createLineChecks } from './balance-line-checks.ts'
import { balanceLineStore } from './balance-line-store.ts'
import { createBalanceLines, type BalanceLines } from './balance-lines.ts'
import { createBands } from './bands.ts'
import { allUnavailable, toUnavailable } from './currencies.ts'
import type { AccountsDependencies } from './dependencies.ts'
import { disclosureBudgetsOf, type DisclosureBudgets } from './disclosure.ts'
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

/** The accounts and balances of customers, at all of their banks. */
export interface Accounts {
  /** The accounts of the caller's customer under active consents with the caller's client, in an order that does not change. */
  list(
    caller: CustomerCaller,
    context: RequestContext,
    filter?: AccountFilter | null,
  ): MaybePromise<readonly AuthorizedAccount[]>
  /**
   * One result per currency, at least one. Discloses the most that token, consent, presence and limit allow, but not more than
   * `detail`. The read is in the ledger before the bank is called.
   */
  balances(query: ExactQuery, detail: 'EXACT' | 'BAND', context: RequestContext): MaybePromise<readonly BalanceResult[]>
  /** Whether a balance is certainly at least the threshold, or why that is not known. */
  atLeast(query: ThresholdQuery, context: RequestContext): MaybePromise<BalanceAtLeast | BalanceUnavailable>
  /** Access to an account for a scope that the customer agreed to. Does not check the scopes of the token. */
  open(row: AuthorizedAccount, scope: CustomerScope): AccountAccess | undefined
  /** The disclosure budgets of accounts, shared by all clients, in the order of the keys. */
  disclosureBudgets(disclosureKeys: readonly string[]): Promise<DisclosureBudgets[]>
  /** The lines that customers drew. */
  readonly lines: BalanceLines
  /** Checks the lines that are due. Stops early when `shouldContinue` returns false. Throws an error that is not the bank's. */
  checkLines(shouldContinue: () => boolean): Promise<void>
  /** Resolves when everything that was read is saved. */
  waitUntilIdle(): Promise<void>
  /** Deletes claims that ended long ago; returns how many. */
  deleteStaleClaims(): Promise<number>
  /** Resets the limits of all accounts; returns how many had disclosures. Only for a sandbox. */
  resetDisclosures(): Promise<number>
  /** Deletes disclosures that no longer count; returns how many rows. */
  deleteExpiredDisclosures(): Promise<number>
}

/** One read of a balance: its access, its ledger entry, and its result if it fails. */
interface BalanceRead<A> {
  readonly type: ExactQuery['type']
  readonly access: AccountAccess
  readonly action: LedgerAction
  readonly read: () => MaybePromise<A>
  readonly onFailure: (reason: Problem) => A
}

/** Creates the service. */
export function createAccounts(dependencies: AccountsDependencies): Accounts {
  const { database, world, seal, consents, ledger } = dependencies
  const { clock } = world
  const disclosures = disclosureStore(database)
  const snapshots = createSnapshots(dependencies, disclosures)
  const bands = createBands({ snapshots, ledger, seal, clock })
  const amounts = createAmounts({ snapshots, disclosures, bands, ledger, clock })
  const lines = balanceLineStore(database, seal)
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

    async disclosureBudgets(disclosureKeys) {
      const histories = await disclosures.findHistories(disclosureKeys)
      const now = clock.now()
      return disclosureKeys.map((key) => disclosureBudgetsOf(histories.get(key)!, now))
    },

    lines: createBalanceLines({ ...dependencies, lines, disclosures, snapshots }),
    checkLines: createLineChecks({ ...dependencies, lines, bands }),

    waitUntilIdle: () => snapshots.waitUntilIdle(),
    deleteStaleClaims: () => snapshots.deleteStaleClaims(),
    resetDisclosures: () => disclosures.reset(),
    deleteExpiredDisclosures: () => disclosures.deleteExpired(clock.now()),
  }
}

/** Reads with an access. The read is added to the ledger first; an error becomes a result with its reason. */
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
    const { bankId, clientId } = access.grant
    const fail = (thrown: unknown): A => onFailure(toProblem(thrown))
    const onlyIfServed = (getResult: () => MaybePromise<A>): MaybePromise<A> =>
      chain(banks.servesClient(bankId, clientId), (isServed) =>
        isServed ? getResult() : fail(new GatewayError('PLATFORM_NOT_ALLOWED')),
      )
    const readIfActive = (isActive: boolean): MaybePromise<A> => {
      if (!isActive) return fail(new GatewayError('BANK_UNAVAILABLE', { internalMessage: 'no active connector' }))
      try {
        const result = read()
        // While a bank responds, it can stop serving the client.
        return isPromise(result) ? result.then((value) => onlyIfServed(() => value), fail) : result
      } catch (error) {
        return fail(error)
      }
    }
    ledger.addRead(context, { action, access, detail: type })
    return onlyIfServed(() => chain(banks.isActive(bankId), readIfActive))
  }
}
