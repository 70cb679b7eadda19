import type { BankBalance } from '../../connectors/index.ts'
import type { BalanceType } from '../../kernel/bank-vocabulary.ts'
import { later } from '../../kernel/clock.ts'
import { asGatewayError, GatewayError } from '../../kernel/errors.ts'
import { traceOf } from '../../kernel/log.ts'
import { inMinorUnits, parseCurrency, parseDecimal, type Currency, type Decimal } from '../../kernel/money.ts'
import type { CustomerCaller, Presence, RequestContext } from '../../kernel/request.ts'
import type { CustomerScope } from '../../kernel/scopes.ts'
import type { Grant, Shared, SharedAccount } from '../consents/index.ts'
import type { LedgerKind } from '../ledger/index.ts'
import type { AccountsDependencies } from './dependencies.ts'
import {
  BAND_WINDOW_MS,
  bandOf,
  budgetsOf,
  certainlyAtLeast,
  DISCLOSURE_WINDOW_MS,
  onGrid,
  thresholdStep,
  whyNoAmount,
  type Withheld,
} from './disclosure.ts'
import { disclosureStore } from './disclosure-store.ts'
import { isTemporary, type Look, type Looked, type Used } from './look.ts'
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

/** An amount that is being told. */
interface Telling {
  readonly type: BalanceType
  readonly maxAgeMs: number
  readonly answer: Promise<AmountAnswer>
}

type AmountAnswer = ExactBalance | BalanceBand | BalanceUnavailable
/** At once where this process remembers it. */
type Answered<T> = T | Promise<T>

/** Balances by grant: written in the ledger first, fetched once for all who ask, absent with a reason where there are none. */
export function createAccounts(dependencies: AccountsDependencies) {
  const { database, world, seal, banks, consents, ledger } = dependencies
  const disclosures = disclosureStore(database)
  const snapshots = createSnapshots(dependencies, disclosures)
  /** The amounts that are being told of each bank account: by its own name, for one made up for each costs more to find. */
  const telling = new Map<string, Telling[]>()
  /** What was answered from a snapshot, made once. */
  const written = new WeakMap<Snapshot, ExactBalance>()
  const opened = new WeakMap<Shared, readonly OpenedAccount[]>()

  const offsetOf = ({ disclosureKey }: SharedAccount): number =>
    Buffer.from(seal.digest('band-offset', disclosureKey), 'base64url').readUInt32BE(0) / 2 ** 32

  function openedOf(shared: Shared, clientId: string): readonly OpenedAccount[] {
    let rows = opened.get(shared)
    if (!rows) {
      rows = shared.accounts.flatMap((account) => {
        const grants = shared.grants.filter(({ accountIds }) => accountIds.includes(account.id))
        const publicId = `account_${seal.digest('public', 'account', clientId, account.id)}`
        return grants.some((grant) => grant.allows('accounts:read')) ? [{ publicId, account, grants }] : []
      })
      opened.set(shared, rows)
    }
    return rows
  }

  /**
   * Asks under the grant that opens the scope, and notes it in the ledger; what goes wrong is a typed reason. Answers at
   * once what this process remembers.
   */
  function answer<Q extends BalanceQuestion, A>(
    question: Q,
    scope: CustomerScope,
    kind: LedgerKind,
    context: RequestContext,
    say: (question: Q, grant: Grant, context: RequestContext) => A | Promise<A>,
  ): A | BalanceUnavailable | Promise<A | BalanceUnavailable> {
    const grant = grantFor(question.row, scope)
    if (!grant) return unavailable(new GatewayError('NOT_CONSENTED'))
    ledger.note(context, { kind, grant, detail: question.type }, [question.row.account.id])
    const ask = (isLive: boolean): A | BalanceUnavailable | Promise<A | BalanceUnavailable> => {
      if (!isLive) return unavailable(new GatewayError('BANK_UNAVAILABLE', { internal: 'no live connector' }))
      try {
        const said = say(question, grant, context)
        return said instanceof Promise ? said.catch(unavailable) : said
      } catch (error) {
        return unavailable(error)
      }
    }
    const live = banks.isLive(grant.bankId)
    return live instanceof Promise ? live.then(ask) : ask(live)
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

  /** The range of one kind of balance: as it was shown while its window is open, from the bank where it is over. */
  function band(
    question: BalanceQuestion,
    grant: Grant,
    context: RequestContext,
    because: BalanceUnavailable | null = null,
  ): BalanceBand | Promise<BalanceBand> {
    const { account } = question.row
    const asKept = (kept: Snapshot | undefined): BalanceBand | Promise<BalanceBand> => {
      const known = shownIn(kept, question)
      if (known?.drawn && isOpen(known.drawn)) return bandAnswer(account, known.balance, known.drawn, 'CACHED', because)
      return drawBand(question, grant, context, because)
    }
    const kept = snapshots.kept(account)
    return kept instanceof Promise ? kept.then(asKept) : asKept(kept)
  }

  const isOpen = (drawn: ShownBand): boolean => Date.parse(drawn.asOf) + BAND_WINDOW_MS > world.clock.now().getTime()

  function drawBand(
    question: BalanceQuestion,
    grant: Grant,
    context: RequestContext,
    because: BalanceUnavailable | null,
  ): Promise<BalanceBand> {
    const { account } = question.row
    const draw = ({ snapshot, freshness }: Looked): Used<BalanceBand> => {
      const now = shownIn(snapshot, question)
      if (!now) throw missing(snapshot, question)
      if (now.drawn && isOpen(now.drawn))
        return { answer: bandAnswer(account, now.balance, now.drawn, 'CACHED', because), snapshot }
      const drawn = {
        ...bandOf(now.balance, offsetOf(account), now.drawn),
        asOf: snapshot.fetchedAt.toISOString(),
      }
      const bands = { ...snapshot.bands, [`${now.balance.type}/${now.balance.currency}`]: drawn }
      return { answer: bandAnswer(account, now.balance, drawn, freshness, because), snapshot: { ...snapshot, bands } }
    }
    return snapshots.use(lookOf(grant, context, BAND_WINDOW_MS, null), account, draw, (error, kept) => {
      const before = shownIn(kept, question)
      if (!before?.drawn || !isTemporary(error)) return undefined
      return bandAnswer(account, before.balance, before.drawn, 'STALE', because ?? unavailable(error))
    })
  }

  const lookOf = (grant: Grant, context: RequestContext, windowMs: number, amountType: BalanceType | null): Look => ({
    grant,
    windowMs,
    amountType,
    customer: context.customer,
    recorded: ledger.settle(context),
  })

  /** The amount, counted against the account's limit unless it was just disclosed; the range where it may not be. */
  function amount(
    question: AmountQuestion,
    grant: Grant,
    context: RequestContext,
  ): AmountAnswer | Promise<AmountAnswer> {
    const { row, type, maxAgeMs } = question
    const { account } = row
    const known = snapshots.remembered(account)
    if (known?.toldType === type && known.fetchedAt.getTime() + maxAgeMs > world.clock.now().getTime())
      return exactly(known, question, 'CACHED')
    const { bankAccount } = account
    let all = telling.get(bankAccount)
    const same = all?.find((one) => one.type === type && one.maxAgeMs === maxAgeMs)
    if (same) return same.answer
    if (!all) telling.set(bankAccount, (all = []))
    const answer = tell(question, grant, context, () => {
      all.splice(all.indexOf(own), 1)
      if (all.length === 0) telling.delete(bankAccount)
    })
    const own = { type, maxAgeMs, answer }
    all.push(own)
    return answer
  }

  function tell(
    question: AmountQuestion,
    grant: Grant,
    context: RequestContext,
    told: () => void,
  ): Promise<AmountAnswer> {
    const { row, type, maxAgeMs } = question
    const say = ({ snapshot, freshness }: Looked): Used<AmountAnswer> => ({
      answer: exactly(snapshot, question, freshness),
      snapshot: toldOnce(snapshot, type),
    })
    const telling = snapshots.use(lookOf(grant, context, maxAgeMs, type), row.account, say, (error, kept) =>
      kept.toldType === type && isTemporary(error) ? exactly(kept, question, 'STALE', unavailable(error)) : undefined,
    )
    return telling.then(
      (answer) => {
        told()
        return answer
      },
      (error: unknown) => {
        told()
        if (asGatewayError(error).code !== 'DISCLOSURE_BUDGET_EXHAUSTED') throw error
        return noAmount(question, grant, context)
      },
    )
  }

  /** The range where no amount of this kind is left, with the reason. */
  async function noAmount(question: AmountQuestion, grant: Grant, context: RequestContext): Promise<BalanceBand> {
    const { row, type } = question
    const { disclosureKey } = row.account
    const now = world.clock.now()
    const disclosed = (await disclosures.disclosed([disclosureKey])).get(disclosureKey)!
    const why = whyNoAmount(disclosed, type, now) ?? {
      reason: 'DISCLOSURE_BUDGET_EXHAUSTED',
      retryAt: later(now, DISCLOSURE_WINDOW_MS),
    }
    return band(question, grant, context, withheld(why))
  }

  function exactly(
    snapshot: Snapshot,
    { row, type }: BalanceQuestion,
    freshness: ExactBalance['freshness'],
    because: BalanceUnavailable | null = null,
  ): ExactBalance {
    const key = freshness === 'CACHED' ? snapshot : undefined
    const known = key && written.get(key)
    if (known?.type === type) return known
    const balance = pick(snapshot.balances, row, type)
    if (!balance) throw missing(snapshot, { row, type })
    const { currency, creditLimit } = balance
    if (!isSupported(currency)) throw new GatewayError('CURRENCY_NOT_SUPPORTED')
    const asOf = snapshot.fetchedAt.toISOString()
    const answered: ExactBalance = {
      ...balance,
      amount: inMinorUnits(balance.amount, currency) ?? balance.amount,
      creditLimit: creditLimit && (inMinorUnits(creditLimit, currency) ?? creditLimit),
      kind: 'EXACT',
      disclosureKey: row.account.disclosureKey,
      bankId: row.account.bankId,
      asOf,
      freshness,
      because,
    }
    if (key) written.set(key, answered)
    return answered
  }

  async function atLeast(
    question: ThresholdQuestion,
    grant: Grant,
    context: RequestContext,
  ): Promise<BalanceAtLeast | BalanceUnavailable> {
    const { row, type } = question
    const { disclosureKey, currency: code } = row.account
    const threshold = parseDecimal(question.amount)
    if (code === null) throw new GatewayError('BALANCE_NOT_PROVIDED')
    const currency = parseCurrency(code)
    if (!currency) throw new GatewayError('CURRENCY_NOT_SUPPORTED')
    if (threshold === undefined || !onGrid(threshold, currency)) throw new GatewayError('THRESHOLD_NOT_A_MULTIPLE')
    await ledger.settle(context)
    const now = world.clock.now()
    if (!(await disclosures.takeQuestion(disclosureKey, now))) {
      const disclosed = (await disclosures.disclosed([disclosureKey])).get(disclosureKey)!
      const { resetsAt } = budgetsOf(disclosed, now).questions
      return withheld({ reason: 'DISCLOSURE_BUDGET_EXHAUSTED', retryAt: resetsAt })
    }
    try {
      const { band: drawn, bankId: _bank, ...rest } = await band(question, grant, context)
      return {
        ...rest,
        kind: 'AT_LEAST',
        disclosureKey,
        type,
        threshold: { amount: threshold, currency },
        certain: certainlyAtLeast(drawn, threshold),
        asOf: drawn.asOf,
      }
    } catch (error) {
      await disclosures.giveBackQuestion(disclosureKey, now)
      throw error
    }
  }

  return {
    /** The accounts of the caller's customer under live consents with the caller's client, in an order that does not change. */
    list(
      caller: CustomerCaller,
      context: RequestContext,
      filter?: AccountFilter | null,
    ): readonly OpenedAccount[] | Promise<readonly OpenedAccount[]> {
      const open = (shared: Shared): readonly OpenedAccount[] => {
        for (const grant of shared.grants)
          if (grant.allows('accounts:read')) ledger.note(context, { kind: 'READ_ACCOUNTS', grant }, grant.accountIds)
        const rows = openedOf(shared, caller.clientId)
        return filter ? rows.filter(fits(filter)) : rows
      }
      const shared = consents.sharedWith(caller)
      return shared instanceof Promise ? shared.then(open) : open(shared)
    },

    /** The exact balance of a row; the range where the customer is not shown to be present or no amount is left. */
    exact(question: AmountQuestion, context: RequestContext): Answered<AmountAnswer> {
      const { presence } = context
      if (presence === 'PRESENT') return answer(question, 'balances:exact', 'READ_BALANCES', context, amount)
      return answer<AmountQuestion, AmountAnswer>(
        question,
        'balances:exact',
        'READ_BALANCE_BAND',
        context,
        (asked, grant) => band(asked, grant, context, absent(presence)),
      )
    },

    /** The range of a row. */
    band: (question: BalanceQuestion, context: RequestContext): Answered<BalanceBand | BalanceUnavailable> =>
      answer<BalanceQuestion, BalanceBand>(question, 'balances:band', 'READ_BALANCE_BAND', context, (asked, grant) =>
        band(asked, grant, context),
      ),

    /** Whether a row's balance is certainly at least so much. */
    atLeast: (question: ThresholdQuestion, context: RequestContext): Answered<BalanceAtLeast | BalanceUnavailable> =>
      answer(question, 'balances:threshold', 'READ_BALANCE_AT_LEAST', context, atLeast),

    /** What thresholds of the account must be multiples of; nothing where it has no currency of its own. */
    stepOf(row: OpenedAccount): Decimal | null {
      const currency = currencyOf(row)
      return currency ? thresholdStep(currency) : null
    },

    /** What is left of each account's limits, over all clients; an account is named by its `disclosureKey`. */
    async budgets(disclosureKeys: readonly string[]): Promise<ReturnType<typeof budgetsOf>[]> {
      const disclosed = await disclosures.disclosed(disclosureKeys)
      const now = world.clock.now()
      return disclosureKeys.map((key) => budgetsOf(disclosed.get(key)!, now))
    },

    /** Resolves once all that was answered is kept. */
    settled: (): Promise<void> => snapshots.settled(),

    /** Forgets who was looking at a bank long ago; returns how many rows. */
    forgetClaims: (): Promise<number> => snapshots.sweep(),

    /** Gives every account its whole limits again; returns how many had used some. For a sandbox only. */
    resetDisclosures: (): Promise<number> => disclosures.reset(),
    /** Deletes disclosures that no longer count; returns how many rows. */
    forgetDisclosures: (): Promise<number> => disclosures.sweep(world.clock.now()),
  }
}

const absent = (presence: Exclude<Presence, 'PRESENT'>): BalanceUnavailable => ({
  kind: 'UNAVAILABLE',
  reason: presence,
  retryAt: null,
})

const withheld = ({ reason, retryAt }: Withheld): BalanceUnavailable => ({ kind: 'UNAVAILABLE', reason, retryAt })

/**
 * The snapshot from which an amount of this kind is disclosed: of one, one kind is. Throws `DISCLOSURE_BUDGET_EXHAUSTED` for
 * another; the limit withholds it as well, and says why.
 */
function toldOnce(snapshot: Snapshot, type: BalanceType): Snapshot {
  if (snapshot.toldType === type) return snapshot
  if (snapshot.toldType !== null) throw new GatewayError('DISCLOSURE_BUDGET_EXHAUSTED')
  return { ...snapshot, toldType: type }
}

/** Why a snapshot does not hold the asked balance. */
function missing({ untrusted, unsupported }: Snapshot, { type }: BalanceQuestion): GatewayError {
  // One that an earlier version saved does not say.
  if ((untrusted as Snapshot['untrusted'] | undefined)?.includes(type)) return new GatewayError('BALANCE_INCONSISTENT')
  return new GatewayError(unsupported?.includes(type) ? 'CURRENCY_NOT_SUPPORTED' : 'BALANCE_NOT_PROVIDED')
}

const isSupported = (currency: Currency): boolean => parseCurrency(currency) !== undefined

const currencyOf = ({ account }: OpenedAccount): Currency | undefined =>
  account.currency === null ? undefined : parseCurrency(account.currency)

const fits =
  ({ bankIds, types, currencies, statuses }: AccountFilter) =>
  ({ account }: OpenedAccount): boolean =>
    (bankIds?.includes(account.bankId) ?? true) &&
    (types?.includes(account.type) ?? true) &&
    (currencies?.includes(account.currency ?? '') ?? true) &&
    (statuses?.includes(account.status) ?? true)

interface Shown {
  readonly balance: BankBalance
  readonly drawn: ShownBand | undefined
}

/** The asked balance of a snapshot, with the range that it was last shown as. */
function shownIn(snapshot: Snapshot | undefined, { row, type }: BalanceQuestion): Shown | undefined {
  const balance = snapshot && pick(snapshot.balances, row, type)
  return balance && { balance, drawn: snapshot.bands[`${balance.type}/${balance.currency}`] }
}

const bandAnswer = (
  { bankId }: SharedAccount,
  { type, creditLineIncluded }: BankBalance,
  band: ShownBand,
  freshness: BalanceBand['freshness'],
  because: BalanceUnavailable | null,
): BalanceBand => ({ kind: 'BAND', bankId, type, band, creditLineIncluded, freshness, because })

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
