import type { BankBalance } from '../../connectors/index.ts'
import type { BalanceType } from '../../kernel/bank-vocabulary.ts'
import { HOUR_MS, later, SECOND_MS } from '../../kernel/clock.ts'
import { asGatewayError, GatewayError } from '../../kernel/errors.ts'
import { traceOf } from '../../kernel/log.ts'
import type { CustomerCaller, RequestContext } from '../../kernel/request.ts'
import type { CustomerScope } from '../../kernel/scopes.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { Seal } from '../../storage/seal.ts'
import type { Consents, Grant } from '../consents/index.ts'
import type { Ledger, LedgerKind } from '../ledger/index.ts'
import { bandOf } from './disclosure.ts'
import {
  grantFor,
  type BalanceBand,
  type BalanceUnavailable,
  type ExactBalance,
  type Freshness,
  type OpenedAccount,
  type Snapshot,
} from './model.ts'
import { snapshotStore } from './store.ts'

/** Accounts and balances, across all of a customer's banks. */
export type Accounts = ReturnType<typeof createAccounts>

/** What accounts stand on. */
export interface AccountsDependencies {
  database: Database
  world: World
  seal: Seal
  consents: Consents
  ledger: Ledger
}

/** Exact balances asked for again within this time come from the same fetch. */
const EXACT_WINDOW_MS = 15 * SECOND_MS
/** Bands are refreshed at most this often, for all clients together. */
const BAND_WINDOW_MS = 6 * HOUR_MS

/** One row's question: the balances of an account, by the grant that opens them. */
export interface BalanceQuestion {
  readonly row: OpenedAccount
  readonly type: BalanceType
}

interface FreshSnapshot {
  readonly snapshot: Snapshot
  readonly freshness: Freshness
}

/** Balances by grant: written in the ledger first, fetched once for all who ask, absent with a reason where there are none. */
export function createAccounts({ database, world, seal, consents, ledger }: AccountsDependencies) {
  const store = snapshotStore(database, seal)
  const looking = new Map<string, Promise<FreshSnapshot>>()

  const offsetOf = (accountId: string): number =>
    Buffer.from(seal.digest('band-offset', accountId), 'base64url').readUInt32BE(0) / 2 ** 32

  /**
   * The snapshot of an account that is no older than the window, from the bank where there is none. One look at a time
   * per account, however many ask: whoever comes while it is taken waits for it, and whoever comes after finds it kept.
   */
  function snapshotWithin(windowMs: number, grant: Grant, accountId: string): Promise<FreshSnapshot> {
    const key = `${accountId}/${windowMs}`
    let running = looking.get(key)
    if (!running) {
      running = look(windowMs, grant, accountId).finally(() => looking.delete(key))
      looking.set(key, running)
    }
    return running
  }

  async function look(windowMs: number, grant: Grant, accountId: string): Promise<FreshSnapshot> {
    const kept = await store.find(accountId)
    if (kept && later(kept.fetchedAt, windowMs) > world.clock.now()) return { snapshot: kept, freshness: 'CACHED' }
    const balances = await consents.atBank(grant, accountId, (bank, access, ref) => bank.balances(access, ref))
    // The next bands hang on the ones shown before.
    const snapshot = { balances, fetchedAt: world.clock.now(), bands: kept?.bands ?? {} }
    await store.keep(accountId, snapshot)
    return { snapshot, freshness: 'LIVE' }
  }

  /**
   * Answers many rows at once: the ledger first, then every account in parallel. A row that fails fails alone, with a
   * typed reason.
   */
  async function answer<T>(
    questions: readonly BalanceQuestion[],
    { requestId }: RequestContext,
    rules: { scope: CustomerScope; kind: LedgerKind; windowMs: number },
    say: (question: BalanceQuestion, balance: BankBalance, snapshot: Snapshot, freshness: Freshness) => T | Promise<T>,
  ): Promise<(T | BalanceUnavailable)[]> {
    const opened = questions.map((question) => ({ question, grant: grantFor(question.row, rules.scope) }))
    await ledger.recordReads(
      opened.flatMap(({ question, grant }) =>
        grant
          ? [
              {
                kind: rules.kind,
                requestId,
                clientId: grant.clientId,
                customerId: grant.customerId,
                consentId: grant.consentId,
                accountId: question.row.account.id,
                detail: question.type,
                purposes: grant.purposes,
              },
            ]
          : [],
      ),
    )
    return Promise.all(
      opened.map(async ({ question, grant }): Promise<T | BalanceUnavailable> => {
        try {
          if (!grant) throw new GatewayError('NOT_CONSENTED')
          const { snapshot, freshness } = await snapshotWithin(rules.windowMs, grant, question.row.account.id)
          const balance = pick(snapshot.balances, question)
          if (!balance) throw new GatewayError('BALANCE_NOT_PROVIDED')
          return await say(question, balance, snapshot, freshness)
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

  return {
    /** Every account of the caller's customer under a live consent with the caller's client, in a stable order. */
    async list(caller: CustomerCaller, { requestId }: RequestContext): Promise<OpenedAccount[]> {
      const grants = (await consents.grantsFor(caller)).filter((grant) => grant.allows('accounts:read'))
      await ledger.recordReads(
        grants.map(({ clientId, customerId, consentId, purposes }) => ({
          kind: 'READ_ACCOUNTS',
          requestId,
          clientId,
          customerId,
          consentId,
          purposes,
        })),
      )
      const accounts = await consents.accountsOf(grants)
      return accounts.map((account) => ({
        publicId: `account_${seal.digest('public', 'account', caller.clientId, account.id)}`,
        account,
        grants: grants.filter(({ accountIds }) => accountIds.includes(account.id)),
      }))
    },

    /** The exact balances of many rows, each in its row's place. */
    exact: (
      questions: readonly BalanceQuestion[],
      context: RequestContext,
    ): Promise<(ExactBalance | BalanceUnavailable)[]> =>
      answer(
        questions,
        context,
        { scope: 'balances:exact', kind: 'READ_BALANCES', windowMs: EXACT_WINDOW_MS },
        (_question, balance, { fetchedAt }, freshness) => ({
          ...balance,
          kind: 'EXACT',
          asOf: fetchedAt,
          freshness,
        }),
      ),

    /** The bands of many rows, each in its row's place. */
    bands: (
      questions: readonly BalanceQuestion[],
      context: RequestContext,
    ): Promise<(BalanceBand | BalanceUnavailable)[]> =>
      answer(
        questions,
        context,
        { scope: 'balances:band', kind: 'READ_BALANCE_BAND', windowMs: BAND_WINDOW_MS },
        async ({ row }, balance, snapshot) => {
          const { id } = row.account
          const key = `${balance.type}/${balance.currency}`
          const shown = snapshot.bands[key]
          if (shown && later(new Date(shown.asOf), BAND_WINDOW_MS) > world.clock.now())
            return { kind: 'BAND', type: balance.type, band: shown }
          const band = { ...bandOf(balance, offsetOf(id), shown), asOf: snapshot.fetchedAt.toISOString() }
          await store.keep(id, { ...snapshot, bands: { ...snapshot.bands, [key]: band } })
          return { kind: 'BAND', type: balance.type, band }
        },
      ),
  }
}

/** The balance of the asked kind, in the account's own currency where it has one, credit lines left out where told apart. */
function pick(balances: readonly BankBalance[], { row, type }: BalanceQuestion): BankBalance | undefined {
  const { currency } = row.account
  const fitting = balances.filter(
    (balance) => balance.type === type && (currency === null || balance.currency === currency),
  )
  return fitting.find((balance) => balance.creditLineIncluded !== true) ?? fitting[0]
}
