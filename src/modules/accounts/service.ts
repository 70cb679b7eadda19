import type { BankBalance } from '../../connectors/index.ts'
import type { BalanceType } from '../../kernel/bank-vocabulary.ts'
import { DAY_MS, later } from '../../kernel/clock.ts'
import { asGatewayError, GatewayError, type ErrorCode } from '../../kernel/errors.ts'
import { traceOf } from '../../kernel/log.ts'
import { parseCurrency, parseDecimal, type Currency, type Decimal } from '../../kernel/money.ts'
import type { CustomerCaller, Presence, RequestContext } from '../../kernel/request.ts'
import type { CustomerScope } from '../../kernel/scopes.ts'
import type { Grant, Shared } from '../consents/index.ts'
import type { LedgerKind } from '../ledger/index.ts'
import type { AccountsDependencies } from './dependencies.ts'
import {
  BAND_WINDOW_MS,
  bandOf,
  budgetsOf,
  certainlyAtLeast,
  dayOf,
  onGrid,
  thresholdStep,
  whyNoAmount,
} from './disclosure.ts'
import {
  grantFor,
  type AccountFilter,
  type BalanceAtLeast,
  type BalanceBand,
  type BalanceUnavailable,
  type ExactBalance,
  type OpenedAccount,
  type ShownBand,
  type Snapshot,
} from './model.ts'
import { createSnapshots } from './snapshots.ts'
import { disclosureStore } from './store.ts'

/** Accounts and balances, across all of a customer's banks. */
export type Accounts = ReturnType<typeof createAccounts>

/** One row's question: the balances of an account, by the grant that opens them. */
export interface BalanceQuestion {
  readonly row: OpenedAccount
  readonly type: BalanceType
}
/** The question for an amount that may be up to so old. */
export interface AmountQuestion extends BalanceQuestion {
  readonly maxAgeMs: number
}
/** The question whether it is at least so much. */
export interface ThresholdQuestion extends BalanceQuestion {
  readonly amount: string
}

/** Balances by grant: written in the ledger first, fetched once for all who ask, absent with a reason where there are none. */
export function createAccounts(dependencies: AccountsDependencies) {
  const { database, world, seal, banks, consents, ledger } = dependencies
  const snapshots = createSnapshots(dependencies)
  const disclosures = disclosureStore(database)
  const telling = new Map<string, Promise<ExactBalance | BalanceBand | BalanceUnavailable>>()
  const opened = new WeakMap<Shared, readonly OpenedAccount[]>()

  const offsetOf = (accountId: string): number =>
    Buffer.from(seal.digest('band-offset', accountId), 'base64url').readUInt32BE(0) / 2 ** 32

  function openedOf(shared: Shared, clientId: string): readonly OpenedAccount[] {
    let rows = opened.get(shared)
    if (!rows) {
      const grants = shared.grants.filter((grant) => grant.allows('accounts:read'))
      rows = shared.accounts.flatMap((account) => {
        const own = grants.filter(({ accountIds }) => accountIds.includes(account.id))
        const publicId = `account_${seal.digest('public', 'account', clientId, account.id)}`
        return own.length > 0 ? [{ publicId, account, grants: own }] : []
      })
      opened.set(shared, rows)
    }
    return rows
  }

  /** Writes what is about to be read: one line for each grant and kind of balance. Nothing is read where this fails. */
  async function record(
    kind: LedgerKind,
    questions: readonly { grant: Grant; question: BalanceQuestion }[],
    { requestId }: RequestContext,
  ): Promise<void> {
    const lines = new Map<string, { grant: Grant; type: string; accountIds: string[] }>()
    for (const { grant, question } of questions) {
      const key = `${grant.consentId}/${question.type}`
      const line = lines.get(key) ?? { grant, type: question.type, accountIds: [] }
      line.accountIds.push(question.row.account.id)
      lines.set(key, line)
    }
    await ledger.recordReads(
      [...lines.values()].map(({ grant, type, accountIds }) => ({
        kind,
        requestId,
        clientId: grant.clientId,
        customerId: grant.customerId,
        consentId: grant.consentId,
        accountIds,
        detail: type,
        purposes: grant.purposes,
      })),
    )
  }

  /** Asks many rows at once; a row that fails fails alone, with a typed reason. */
  async function answer<Q extends BalanceQuestion, A>(
    questions: readonly Q[],
    scope: CustomerScope,
    kind: LedgerKind,
    context: RequestContext,
    say: (question: Q, grant: Grant) => A | Promise<A>,
  ): Promise<(A | BalanceUnavailable)[]> {
    const granted = questions.flatMap((question) => {
      const grant = grantFor(question.row, scope)
      return grant ? [{ question, grant }] : []
    })
    await record(kind, granted, context)
    return Promise.all(
      questions.map(async (question): Promise<A | BalanceUnavailable> => {
        try {
          const grant = grantFor(question.row, scope)
          if (!grant) throw new GatewayError('NOT_CONSENTED')
          if (!(await banks.isLive(grant.bankId)))
            throw new GatewayError('BANK_UNAVAILABLE', { internal: 'no live connector' })
          return await say(question, grant)
        } catch (error) {
          return unavailable(error)
        }
      }),
    )
  }

  function unavailable(thrown: unknown): BalanceUnavailable {
    const error = asGatewayError(thrown)
    if (error.code === 'INTERNAL') world.log.error('balance.failed', { code: error.code, trace: traceOf(error) })
    const retryAfterS = error.retryAfterS ?? (error.facts.retryable ? 30 : undefined)
    return {
      kind: 'UNAVAILABLE',
      reason: error.code,
      retryAt: retryAfterS === undefined ? null : later(world.clock.now(), retryAfterS * 1_000),
    }
  }

  /** Why something is not told today, and from when on it can be. */
  function untilTomorrow(code: ErrorCode): BalanceUnavailable {
    return { kind: 'UNAVAILABLE', reason: code, retryAt: new Date(dayOf(world.clock.now()).getTime() + DAY_MS) }
  }

  /** The range of one kind of balance: as it was shown while its window is open, from the bank where it is over. */
  async function band(
    { row, type }: BalanceQuestion,
    grant: Grant,
    because: BalanceUnavailable | null = null,
  ): Promise<BalanceBand> {
    const { id, customerId } = row.account
    const shown = (
      snapshot: Snapshot | undefined,
    ): { balance: BankBalance; drawn: ShownBand | undefined } | undefined => {
      const balance = snapshot && pick(snapshot.balances, row, type)
      return balance && { balance, drawn: snapshot.bands[`${balance.type}/${balance.currency}`] }
    }
    const asBand = (balance: BankBalance, drawn: ShownBand, freshness: BalanceBand['freshness'], why = because) => ({
      kind: 'BAND' as const,
      type: balance.type,
      band: drawn,
      creditLineIncluded: balance.creditLineIncluded,
      freshness,
      because: why,
    })
    const isOpen = (drawn: ShownBand): boolean => Date.parse(drawn.asOf) + BAND_WINDOW_MS > world.clock.now().getTime()

    const looked = snapshots.kept(id, customerId)
    const known = shown(looked instanceof Promise ? await looked : looked)
    if (known?.drawn && isOpen(known.drawn)) return asBand(known.balance, known.drawn, 'CACHED')
    return snapshots.inTurn(id, async () => {
      try {
        const { snapshot, freshness } = await snapshots.within(BAND_WINDOW_MS, grant, id)
        const now = shown(snapshot)
        if (!now) throw new GatewayError('BALANCE_NOT_PROVIDED')
        if (now.drawn && isOpen(now.drawn)) return asBand(now.balance, now.drawn, 'CACHED')
        const drawn = { ...bandOf(now.balance, offsetOf(id), now.drawn), asOf: snapshot.fetchedAt.toISOString() }
        const bands = { ...snapshot.bands, [`${now.balance.type}/${now.balance.currency}`]: drawn }
        await snapshots.keep(id, { ...snapshot, bands })
        return asBand(now.balance, drawn, freshness)
      } catch (error) {
        if (!known?.drawn || !isTemporary(error)) throw error
        return asBand(known.balance, known.drawn, 'STALE', because ?? unavailable(error))
      }
    })
  }

  /** The amount, charged to the day's budget unless it was just told; the range where it may not be told. */
  async function amount(
    question: AmountQuestion,
    grant: Grant,
  ): Promise<ExactBalance | BalanceBand | BalanceUnavailable> {
    const { row, type, maxAgeMs } = question
    const { id, customerId } = row.account
    const kept = await snapshots.kept(id, customerId)
    if (kept?.toldType === type && later(kept.fetchedAt, maxAgeMs) > world.clock.now())
      return exactly(kept, question, 'CACHED')
    const key = `${id}/${type}/${maxAgeMs}`
    let running = telling.get(key)
    if (!running) {
      running = tell(question, grant, kept).finally(() => telling.delete(key))
      telling.set(key, running)
    }
    return running
  }

  async function tell(
    question: AmountQuestion,
    grant: Grant,
    before: Snapshot | undefined,
  ): Promise<ExactBalance | BalanceBand | BalanceUnavailable> {
    const { row, type, maxAgeMs } = question
    const { id } = row.account
    const day = dayOf(world.clock.now())
    if (!(await disclosures.takeAmount(id, day, type))) {
      const told = (await disclosures.told([id], day)).get(id)!
      return band(question, grant, untilTomorrow(whyNoAmount(told, type) ?? 'DISCLOSURE_BUDGET_SPENT'))
    }
    try {
      return await snapshots.inTurn(id, async () => {
        const { snapshot, freshness } = await snapshots.within(maxAgeMs, grant, id)
        // Another process told it a moment ago: the same amount again is nothing new.
        if (snapshot.toldType === type) await disclosures.giveBack(id, day, 'AMOUNT')
        const answered = exactly({ ...snapshot, toldType: type }, question, freshness)
        if (snapshot.toldType !== type) await snapshots.keep(id, { ...snapshot, toldType: type })
        return answered
      })
    } catch (error) {
      await disclosures.giveBack(id, day, 'AMOUNT')
      if (before?.toldType === type && isTemporary(error)) return exactly(before, question, 'STALE', unavailable(error))
      throw error
    }
  }

  function exactly(
    snapshot: Snapshot,
    { row, type }: BalanceQuestion,
    freshness: ExactBalance['freshness'],
    because: BalanceUnavailable | null = null,
  ): ExactBalance {
    const balance = pick(snapshot.balances, row, type)
    if (!balance) throw new GatewayError('BALANCE_NOT_PROVIDED')
    return { ...balance, kind: 'EXACT', accountId: row.account.id, asOf: snapshot.fetchedAt, freshness, because }
  }

  async function atLeast(question: ThresholdQuestion, grant: Grant): Promise<BalanceAtLeast | BalanceUnavailable> {
    const { row, type } = question
    const { id } = row.account
    const currency = currencyOf(row)
    const threshold = parseDecimal(question.amount)
    if (!currency) throw new GatewayError('BALANCE_NOT_PROVIDED')
    if (threshold === undefined || !onGrid(threshold, currency)) throw new GatewayError('THRESHOLD_NOT_ON_GRID')
    const day = dayOf(world.clock.now())
    if (!(await disclosures.takeQuestion(id, day))) return untilTomorrow('DISCLOSURE_BUDGET_SPENT')
    try {
      const { band: drawn, ...rest } = await band(question, grant)
      return {
        ...rest,
        kind: 'AT_LEAST',
        accountId: id,
        type,
        threshold: { amount: threshold, currency },
        certain: certainlyAtLeast(drawn, threshold),
        asOf: drawn.asOf,
      }
    } catch (error) {
      await disclosures.giveBack(id, day, 'QUESTION')
      throw error
    }
  }

  return {
    /** The accounts of the caller's customer under live consents with the caller's client, in an order that does not change. */
    async list(
      caller: CustomerCaller,
      { requestId }: RequestContext,
      filter: AccountFilter = {},
    ): Promise<readonly OpenedAccount[]> {
      const shared = await consents.sharedWith(caller)
      await ledger.recordReads(
        shared.grants
          .filter((grant) => grant.allows('accounts:read'))
          .map(({ clientId, customerId, consentId, purposes, accountIds }) => ({
            kind: 'READ_ACCOUNTS',
            requestId,
            clientId,
            customerId,
            consentId,
            accountIds,
            purposes,
          })),
      )
      return openedOf(shared, caller.clientId).filter(fits(filter))
    },

    /** The exact balances of many rows, each in its row's place; ranges where the customer is not shown to be present. */
    async exact(
      questions: readonly AmountQuestion[],
      context: RequestContext,
    ): Promise<(ExactBalance | BalanceBand | BalanceUnavailable)[]> {
      if (context.presence === 'PRESENT') return answer(questions, 'balances:exact', 'READ_BALANCES', context, amount)
      const because = absent(context.presence)
      return answer(questions, 'balances:exact', 'READ_BALANCE_BAND', context, (question, grant) =>
        band(question, grant, because),
      )
    },

    /** The ranges of many rows, each in its row's place. */
    bands: (
      questions: readonly BalanceQuestion[],
      context: RequestContext,
    ): Promise<(BalanceBand | BalanceUnavailable)[]> =>
      answer(questions, 'balances:band', 'READ_BALANCE_BAND', context, band),

    /** For many rows, whether each is certainly at least so much. */
    atLeast: (
      questions: readonly ThresholdQuestion[],
      context: RequestContext,
    ): Promise<(BalanceAtLeast | BalanceUnavailable)[]> =>
      answer(questions, 'balances:threshold', 'READ_BALANCE_AT_LEAST', context, atLeast),

    /** What thresholds of the account must be multiples of; nothing where it has no currency of its own. */
    stepOf(row: OpenedAccount): Decimal | null {
      const currency = currencyOf(row)
      return currency ? thresholdStep(currency) : null
    },

    /** What is left today of each account's budgets, over all clients. */
    async budgets(accountIds: readonly string[]): Promise<ReturnType<typeof budgetsOf>[]> {
      const now = world.clock.now()
      const told = await disclosures.told(accountIds, dayOf(now))
      return accountIds.map((id) => budgetsOf(told.get(id)!, now))
    },

    /** Forgets what was told before yesterday; returns how many rows. */
    forgetDisclosures: (): Promise<number> => disclosures.sweep(later(dayOf(world.clock.now()), -DAY_MS)),
  }
}

const absent = (presence: Exclude<Presence, 'PRESENT'>): BalanceUnavailable => ({
  kind: 'UNAVAILABLE',
  reason: presence,
  retryAt: null,
})

/** Whether an older answer is better than none: the bank will answer again by itself. */
function isTemporary(error: unknown): boolean {
  const { category, retryable } = asGatewayError(error).facts
  return category === 'BANK' && retryable
}

const currencyOf = ({ account }: OpenedAccount): Currency | undefined =>
  account.currency === null ? undefined : parseCurrency(account.currency)

const fits =
  ({ bankIds, types, currencies, statuses }: AccountFilter) =>
  ({ account }: OpenedAccount): boolean =>
    (bankIds?.includes(account.bankId) ?? true) &&
    (types?.includes(account.type) ?? true) &&
    (currencies?.includes(account.currency ?? '') ?? true) &&
    (statuses?.includes(account.status) ?? true)

/** The balance of the asked kind, in the account's own currency where it has one, credit lines left out where told apart. */
function pick(
  balances: readonly BankBalance[],
  { account }: OpenedAccount,
  type: BalanceType,
): BankBalance | undefined {
  const { currency } = account
  const fitting = balances.filter(
    (balance) => balance.type === type && (currency === null || balance.currency === currency),
  )
  return fitting.find((balance) => balance.creditLineIncluded !== true) ?? fitting[0]
}
