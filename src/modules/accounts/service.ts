import type { BankBalance } from '../../connectors/index.ts'
import type { BalanceType } from '../../kernel/bank-vocabulary.ts'
import { addMs } from '../../kernel/clock.ts'
import { toGatewayError, GatewayError } from '../../kernel/errors.ts'
import { errorTrace } from '../../kernel/log.ts'
import {
  withCurrencyDecimals,
  parseCurrency,
  parseDecimal,
  type CurrencyCode,
  type Decimal,
} from '../../kernel/money.ts'
import type { CustomerCaller, Presence, RequestContext } from '../../kernel/request-context.ts'
import type { CustomerScope } from '../../kernel/scopes.ts'
import type { Grant, Shared, SharedAccount } from '../consents/index.ts'
import type { LedgerKind } from '../ledger/index.ts'
import type { AccountsDependencies } from './dependencies.ts'
import {
  BAND_MAX_AGE_MS,
  bandOf,
  budgetsOf,
  isCertainlyAtLeast,
  DISCLOSURE_WINDOW_MS,
  isAllowedThreshold,
  thresholdStep,
  findExactDenial,
  type DisclosureDenial,
} from './disclosure.ts'
import { disclosureStore } from './disclosure-store.ts'
import { isTemporary, type BalanceFetch, type FetchedSnapshot, type ReadResult } from './balance-fetch.ts'
import {
  grantFor,
  type AccountFilter,
  type BalanceAtLeast,
  type BalanceBand,
  type BalanceUnavailable,
  type ExactBalance,
  type AuthorizedAccount,
  type DisclosedBand,
  type Snapshot,
} from './model.ts'
import { createSnapshots } from './snapshots.ts'

/** Accounts and balances, across all of a customer's banks. */
export type Accounts = ReturnType<typeof createAccounts>

/** One row's question: the balances of an account, by the grant that opens them. */
export interface BalanceQuery {
  readonly row: AuthorizedAccount
  readonly type: BalanceType
}
/** The question for an amount that may be up to so old. */
export interface ExactQuery extends BalanceQuery {
  readonly maxAgeMs: number
}
/** The question whether it is at least so much. */
export interface ThresholdQuery extends BalanceQuery {
  readonly threshold: string
}

/** An amount that is being told. */
interface InFlightDisclosure {
  readonly type: BalanceType
  readonly maxAgeMs: number
  readonly result: Promise<ExactResult>
}

type ExactResult = ExactBalance | BalanceBand | BalanceUnavailable
/** At once where this process remembers it. */
type MaybePromise<T> = T | Promise<T>

/** Balances by grant: written in the ledger first, fetched once for all who ask, absent with a reason where there are none. */
export function createAccounts(dependencies: AccountsDependencies) {
  const { database, world, seal, banks, consents, ledger } = dependencies
  const disclosures = disclosureStore(database)
  const snapshots = createSnapshots(dependencies, disclosures)
  /** The amounts that are being told of each bank account: by its own name, for one made up for each costs more to find. */
  const inFlight = new Map<string, InFlightDisclosure[]>()
  /** What was answered from a snapshot, made once. */
  const exactBySnapshot = new WeakMap<Snapshot, ExactBalance>()
  const authorizedByShared = new WeakMap<Shared, readonly AuthorizedAccount[]>()

  const bandOffsetOf = ({ disclosureKey }: SharedAccount): number =>
    Buffer.from(seal.digest('band-offset', disclosureKey), 'base64url').readUInt32BE(0) / 2 ** 32

  function authorizedAccountsOf(shared: Shared, clientId: string): readonly AuthorizedAccount[] {
    let rows = authorizedByShared.get(shared)
    if (!rows) {
      rows = shared.accounts.flatMap((account) => {
        const grants = shared.grants.filter(({ accountIds }) => accountIds.includes(account.id))
        const publicId = `account_${seal.digest('public', 'account', clientId, account.id)}`
        return grants.some((grant) => grant.allows('accounts:read')) ? [{ publicId, account, grants }] : []
      })
      authorizedByShared.set(shared, rows)
    }
    return rows
  }

  /**
   * Asks under the grant that opens the scope, and notes it in the ledger; what goes wrong is a typed reason. Answers at
   * once what this process remembers.
   */
  function readBalance<Q extends BalanceQuery, A>(
    query: Q,
    scope: CustomerScope,
    kind: LedgerKind,
    context: RequestContext,
    read: (query: Q, grant: Grant, context: RequestContext) => A | Promise<A>,
  ): A | BalanceUnavailable | Promise<A | BalanceUnavailable> {
    const grant = grantFor(query.row, scope)
    if (!grant) return toUnavailable(new GatewayError('NOT_CONSENTED'))
    ledger.addRead(context, { kind, grant, detail: query.type }, [query.row.account.id])
    const readIfActive = (isActive: boolean): A | BalanceUnavailable | Promise<A | BalanceUnavailable> => {
      if (!isActive)
        return toUnavailable(new GatewayError('BANK_UNAVAILABLE', { internalMessage: 'no active connector' }))
      try {
        const result = read(query, grant, context)
        return result instanceof Promise ? result.catch(toUnavailable) : result
      } catch (error) {
        return toUnavailable(error)
      }
    }
    const isActive = banks.isActive(grant.bankId)
    return isActive instanceof Promise ? isActive.then(readIfActive) : readIfActive(isActive)
  }

  function toUnavailable(thrown: unknown): BalanceUnavailable {
    const error = toGatewayError(thrown)
    if (error.code === 'INTERNAL')
      world.log.error('balance.read_failed', { code: error.code, trace: errorTrace(error) })
    const retryAfterSeconds = error.retryAfterSeconds ?? (error.definition.retryable ? 30 : undefined)
    return {
      kind: 'UNAVAILABLE',
      reason: error.code,
      retryAt: retryAfterSeconds === undefined ? null : addMs(world.clock.now(), retryAfterSeconds * 1_000),
    }
  }

  /** The range of one kind of balance: as it was shown while its window is open, from the bank where it is over. */
  function readBand(
    query: BalanceQuery,
    grant: Grant,
    context: RequestContext,
    because: BalanceUnavailable | null = null,
  ): BalanceBand | Promise<BalanceBand> {
    const { account } = query.row
    const fromCached = (cached: Snapshot | undefined): BalanceBand | Promise<BalanceBand> => {
      const shown = findBalanceWithBand(cached, query)
      if (shown?.band && isBandCurrent(shown.band))
        return toBalanceBand(account, shown.balance, shown.band, 'CACHED', because)
      return fetchBand(query, grant, context, because)
    }
    const cached = snapshots.find(account)
    return cached instanceof Promise ? cached.then(fromCached) : fromCached(cached)
  }

  const isBandCurrent = (band: DisclosedBand): boolean =>
    Date.parse(band.asOf) + BAND_MAX_AGE_MS > world.clock.now().getTime()

  function fetchBand(
    query: BalanceQuery,
    grant: Grant,
    context: RequestContext,
    because: BalanceUnavailable | null,
  ): Promise<BalanceBand> {
    const { account } = query.row
    const read = ({ snapshot, freshness }: FetchedSnapshot): ReadResult<BalanceBand> => {
      const current = findBalanceWithBand(snapshot, query)
      if (!current) throw missingBalanceError(snapshot, query)
      if (current.band && isBandCurrent(current.band))
        return { value: toBalanceBand(account, current.balance, current.band, 'CACHED', because), snapshot }
      const newBand = {
        ...bandOf(current.balance, bandOffsetOf(account), current.band),
        asOf: snapshot.fetchedAt.toISOString(),
      }
      const bands = { ...snapshot.bands, [`${current.balance.type}/${current.balance.currency}`]: newBand }
      return {
        value: toBalanceBand(account, current.balance, newBand, freshness, because),
        snapshot: { ...snapshot, bands },
      }
    }
    return snapshots.read(buildBalanceFetch(grant, context, BAND_MAX_AGE_MS, null), account, read, (error, cached) => {
      const previous = findBalanceWithBand(cached, query)
      if (!previous?.band || !isTemporary(error)) return undefined
      return toBalanceBand(account, previous.balance, previous.band, 'STALE', because ?? toUnavailable(error))
    })
  }

  const buildBalanceFetch = (
    grant: Grant,
    context: RequestContext,
    maxAgeMs: number,
    exactType: BalanceType | null,
  ): BalanceFetch => ({
    grant,
    maxAgeMs,
    exactType,
    customer: context.customer,
    ledgerWritten: ledger.commitReads(context),
  })

  /** The amount, counted against the account's limit unless it was just disclosed; the range where it may not be. */
  function readExact(query: ExactQuery, grant: Grant, context: RequestContext): ExactResult | Promise<ExactResult> {
    const { row, type, maxAgeMs } = query
    const { account } = row
    const cached = snapshots.peek(account)
    if (cached?.disclosedType === type && cached.fetchedAt.getTime() + maxAgeMs > world.clock.now().getTime())
      return toExactBalance(cached, query, 'CACHED')
    const { bankAccountKey } = account
    let running = inFlight.get(bankAccountKey)
    const matching = running?.find((one) => one.type === type && one.maxAgeMs === maxAgeMs)
    if (matching) return matching.result
    if (!running) inFlight.set(bankAccountKey, (running = []))
    const result = discloseExact(query, grant, context, () => {
      running.splice(running.indexOf(entry), 1)
      if (running.length === 0) inFlight.delete(bankAccountKey)
    })
    const entry = { type, maxAgeMs, result }
    running.push(entry)
    return result
  }

  function discloseExact(
    query: ExactQuery,
    grant: Grant,
    context: RequestContext,
    onSettled: () => void,
  ): Promise<ExactResult> {
    const { row, type, maxAgeMs } = query
    const read = ({ snapshot, freshness }: FetchedSnapshot): ReadResult<ExactResult> => ({
      value: toExactBalance(snapshot, query, freshness),
      snapshot: markDisclosed(snapshot, type),
    })
    const disclosing = snapshots.read(
      buildBalanceFetch(grant, context, maxAgeMs, type),
      row.account,
      read,
      (error, cached) =>
        cached.disclosedType === type && isTemporary(error)
          ? toExactBalance(cached, query, 'STALE', toUnavailable(error))
          : undefined,
    )
    return disclosing.then(
      (result) => {
        onSettled()
        return result
      },
      (error: unknown) => {
        onSettled()
        if (toGatewayError(error).code !== 'DISCLOSURE_BUDGET_EXHAUSTED') throw error
        return fallBackToBand(query, grant, context)
      },
    )
  }

  /** The range where no amount of this kind is left, with the reason. */
  async function fallBackToBand(query: ExactQuery, grant: Grant, context: RequestContext): Promise<BalanceBand> {
    const { row, type } = query
    const { disclosureKey } = row.account
    const now = world.clock.now()
    const histories = (await disclosures.findHistories([disclosureKey])).get(disclosureKey)!
    const denial = findExactDenial(histories, type, now) ?? {
      reason: 'DISCLOSURE_BUDGET_EXHAUSTED',
      retryAt: addMs(now, DISCLOSURE_WINDOW_MS),
    }
    return readBand(query, grant, context, unavailableByDenial(denial))
  }

  function toExactBalance(
    snapshot: Snapshot,
    { row, type }: BalanceQuery,
    freshness: ExactBalance['freshness'],
    because: BalanceUnavailable | null = null,
  ): ExactBalance {
    const cacheKey = freshness === 'CACHED' ? snapshot : undefined
    const cached = cacheKey && exactBySnapshot.get(cacheKey)
    if (cached?.type === type) return cached
    const balance = pickBalance(snapshot.balances, row, type)
    if (!balance) throw missingBalanceError(snapshot, { row, type })
    const { currency, creditLimit } = balance
    if (!isSupported(currency)) throw new GatewayError('CURRENCY_NOT_SUPPORTED')
    const asOf = snapshot.fetchedAt.toISOString()
    const result: ExactBalance = {
      ...balance,
      amount: withCurrencyDecimals(balance.amount, currency) ?? balance.amount,
      creditLimit: creditLimit && (withCurrencyDecimals(creditLimit, currency) ?? creditLimit),
      kind: 'EXACT',
      disclosureKey: row.account.disclosureKey,
      bankId: row.account.bankId,
      asOf,
      freshness,
      because,
    }
    if (cacheKey) exactBySnapshot.set(cacheKey, result)
    return result
  }

  async function atLeast(
    query: ThresholdQuery,
    grant: Grant,
    context: RequestContext,
  ): Promise<BalanceAtLeast | BalanceUnavailable> {
    const { row, type } = query
    const { disclosureKey, currency: code } = row.account
    const threshold = parseDecimal(query.threshold)
    if (code === null) throw new GatewayError('BALANCE_NOT_PROVIDED')
    const currency = parseCurrency(code)
    if (!currency) throw new GatewayError('CURRENCY_NOT_SUPPORTED')
    if (threshold === undefined || !isAllowedThreshold(threshold, currency))
      throw new GatewayError('THRESHOLD_NOT_A_MULTIPLE')
    await ledger.commitReads(context)
    const now = world.clock.now()
    if (!(await disclosures.chargeThreshold(disclosureKey, now))) {
      const history = (await disclosures.findHistories([disclosureKey])).get(disclosureKey)!
      const { nextAvailableAt } = budgetsOf(history, now).threshold
      return unavailableByDenial({ reason: 'DISCLOSURE_BUDGET_EXHAUSTED', retryAt: nextAvailableAt })
    }
    try {
      const { band: disclosedBand, bankId: _bank, ...rest } = await readBand(query, grant, context)
      return {
        ...rest,
        kind: 'AT_LEAST',
        disclosureKey,
        type,
        threshold: { amount: threshold, currency },
        certain: isCertainlyAtLeast(disclosedBand, threshold),
        asOf: disclosedBand.asOf,
      }
    } catch (error) {
      await disclosures.refundThreshold(disclosureKey, now)
      throw error
    }
  }

  return {
    /** The accounts of the caller's customer under live consents with the caller's client, in an order that does not change. */
    list(
      caller: CustomerCaller,
      context: RequestContext,
      filter?: AccountFilter | null,
    ): readonly AuthorizedAccount[] | Promise<readonly AuthorizedAccount[]> {
      const authorize = (shared: Shared): readonly AuthorizedAccount[] => {
        for (const grant of shared.grants)
          if (grant.allows('accounts:read')) ledger.addRead(context, { kind: 'READ_ACCOUNTS', grant }, grant.accountIds)
        const rows = authorizedAccountsOf(shared, caller.clientId)
        return filter ? rows.filter(matchesFilter(filter)) : rows
      }
      const shared = consents.findShared(caller)
      return shared instanceof Promise ? shared.then(authorize) : authorize(shared)
    },

    /** The exact balance of a row; the range where the customer is not shown to be present or no amount is left. */
    exact(query: ExactQuery, context: RequestContext): MaybePromise<ExactResult> {
      const { presence } = context
      if (presence === 'PRESENT') return readBalance(query, 'balances:exact', 'READ_BALANCES', context, readExact)
      return readBalance<ExactQuery, ExactResult>(
        query,
        'balances:exact',
        'READ_BALANCE_BAND',
        context,
        (boundQuery, grant) => readBand(boundQuery, grant, context, unavailableWithoutCustomer(presence)),
      )
    },

    /** The range of a row. */
    readBand: (query: BalanceQuery, context: RequestContext): MaybePromise<BalanceBand | BalanceUnavailable> =>
      readBalance<BalanceQuery, BalanceBand>(query, 'balances:band', 'READ_BALANCE_BAND', context, (asked, grant) =>
        readBand(asked, grant, context),
      ),

    /** Whether a row's balance is certainly at least so much. */
    atLeast: (query: ThresholdQuery, context: RequestContext): MaybePromise<BalanceAtLeast | BalanceUnavailable> =>
      readBalance(query, 'balances:threshold', 'READ_BALANCE_AT_LEAST', context, atLeast),

    /** What thresholds of the account must be multiples of; nothing where it has no currency of its own. */
    thresholdStepOf(row: AuthorizedAccount): Decimal | null {
      const currency = currencyOf(row)
      return currency ? thresholdStep(currency) : null
    },

    /** What is left of each account's limits, over all clients; an account is named by its `disclosureKey`. */
    async budgets(disclosureKeys: readonly string[]): Promise<ReturnType<typeof budgetsOf>[]> {
      const histories = await disclosures.findHistories(disclosureKeys)
      const now = world.clock.now()
      return disclosureKeys.map((key) => budgetsOf(histories.get(key)!, now))
    },

    /** Resolves once all that was answered is kept. */
    waitUntilIdle: (): Promise<void> => snapshots.waitUntilIdle(),

    /** Forgets who was looking at a bank long ago; returns how many rows. */
    deleteStaleClaims: (): Promise<number> => snapshots.deleteStaleClaims(),

    /** Gives every account its whole limits again; returns how many had used some. For a sandbox only. */
    resetDisclosures: (): Promise<number> => disclosures.reset(),
    /** Deletes disclosures that no longer count; returns how many rows. */
    deleteExpiredDisclosures: (): Promise<number> => disclosures.deleteExpired(world.clock.now()),
  }
}

const unavailableWithoutCustomer = (presence: Exclude<Presence, 'PRESENT'>): BalanceUnavailable => ({
  kind: 'UNAVAILABLE',
  reason: presence,
  retryAt: null,
})

const unavailableByDenial = ({ reason, retryAt }: DisclosureDenial): BalanceUnavailable => ({
  kind: 'UNAVAILABLE',
  reason,
  retryAt,
})

/**
 * The snapshot from which an amount of this kind is disclosed: of one, one kind is. Throws `DISCLOSURE_BUDGET_EXHAUSTED` for
 * another; the limit withholds it as well, and says why.
 */
function markDisclosed(snapshot: Snapshot, type: BalanceType): Snapshot {
  if (snapshot.disclosedType === type) return snapshot
  if (snapshot.disclosedType !== null) throw new GatewayError('DISCLOSURE_BUDGET_EXHAUSTED')
  return { ...snapshot, disclosedType: type }
}

/** Why a snapshot does not hold the asked balance. */
function missingBalanceError({ invalidTypes, unsupportedTypes }: Snapshot, { type }: BalanceQuery): GatewayError {
  // One that an earlier version saved does not say.
  if ((invalidTypes as Snapshot['invalidTypes'] | undefined)?.includes(type))
    return new GatewayError('BALANCE_INCONSISTENT')
  return new GatewayError(unsupportedTypes?.includes(type) ? 'CURRENCY_NOT_SUPPORTED' : 'BALANCE_NOT_PROVIDED')
}

const isSupported = (currency: CurrencyCode): boolean => parseCurrency(currency) !== undefined

const currencyOf = ({ account }: AuthorizedAccount): CurrencyCode | undefined =>
  account.currency === null ? undefined : parseCurrency(account.currency)

const matchesFilter =
  ({ bankIds, types, currencies, statuses }: AccountFilter) =>
  ({ account }: AuthorizedAccount): boolean =>
    (bankIds?.includes(account.bankId) ?? true) &&
    (types?.includes(account.type) ?? true) &&
    (currencies?.includes(account.currency ?? '') ?? true) &&
    (statuses?.includes(account.status) ?? true)

interface BalanceWithBand {
  readonly balance: BankBalance
  readonly band: DisclosedBand | undefined
}

/** The asked balance of a snapshot, with the range that it was last shown as. */
function findBalanceWithBand(snapshot: Snapshot | undefined, { row, type }: BalanceQuery): BalanceWithBand | undefined {
  const balance = snapshot && pickBalance(snapshot.balances, row, type)
  return balance && { balance, band: snapshot.bands[`${balance.type}/${balance.currency}`] }
}

const toBalanceBand = (
  { bankId }: SharedAccount,
  { type, creditLineIncluded }: BankBalance,
  readBand: DisclosedBand,
  freshness: BalanceBand['freshness'],
  because: BalanceUnavailable | null,
): BalanceBand => ({ kind: 'BAND', bankId, type, band: readBand, creditLineIncluded, freshness, because })

/** The balance of the asked kind, in the account's own currency where it has one, credit lines left out where told apart. */
function pickBalance(
  balances: readonly BankBalance[],
  { account }: AuthorizedAccount,
  type: BalanceType,
): BankBalance | undefined {
  const { currency } = account
  const candidates = balances.filter(
    (balance) => balance.type === type && (currency === null || balance.currency === currency),
  )
  return candidates.find((balance) => balance.creditLineIncluded !== true) ?? candidates[0]
}
