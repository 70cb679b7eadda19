import type { Balances } from '../../connectors/index.ts'
import type { BalanceType } from '../../kernel/bank-vocabulary.ts'
import { later, MINUTE_MS, SECOND_MS } from '../../kernel/clock.ts'
import { asGatewayError, GatewayError } from '../../kernel/errors.ts'
import { createGather } from '../../kernel/gather.ts'
import { createMemory } from '../../kernel/memory.ts'
import type { StatedCustomer } from '../../kernel/request.ts'
import type { Grant, SharedAccount } from '../consents/index.ts'
import type { AccountsDependencies } from './dependencies.ts'
import { dayOf } from './disclosure.ts'
import type { Freshness, Snapshot } from './model.ts'
import { snapshotStore, type Claim, type DisclosureStore, type Wanted } from './store.ts'

/** A wish to look at an account. */
export interface Look {
  readonly grant: Grant
  readonly account: SharedAccount
  /** A snapshot that is younger than this will do, in milliseconds. */
  readonly windowMs: number
  readonly customer: StatedCustomer | null
  /** The kind of balance whose amount is to be told of it; nothing where none is. */
  readonly amountType: BalanceType | null
  /** Resolves once the ledger holds it: before that, no bank is asked and nothing is told. */
  readonly recorded: Promise<unknown> | undefined
}

/** A snapshot, and whether it was fetched for whoever asks. */
export interface Looked {
  readonly snapshot: Snapshot
  readonly freshness: Exclude<Freshness, 'STALE'>
}

/** What is answered from a snapshot, and the snapshot with what was told of it. */
export interface Used<A> {
  readonly answer: A
  readonly snapshot: Snapshot
}

/** The newest balances of each account at its bank, shared by everybody who asks, whoever it is that shares it. */
export interface Snapshots {
  /** What this process remembers. */
  remembered(account: SharedAccount): Snapshot | undefined
  /** What is kept, at once where this process remembers it. */
  kept(account: SharedAccount): Snapshot | undefined | Promise<Snapshot | undefined>
  /**
   * Runs `work` on a snapshot that is young enough, while nothing else in this process uses the account's, and keeps what
   * it returns. Where the bank must be asked, it is asked once for all who want it at that moment, in this and all other
   * processes, and for the accounts of one connection together; where that fails, `instead` may answer from what is kept,
   * however old, and otherwise it throws what the bank said. Where an amount is to be told, one is taken of the day's,
   * unless it was told from the same snapshot already, and given back where none comes of it: where none is left, throws
   * `DISCLOSURE_BUDGET_SPENT`.
   */
  use<A>(
    look: Look,
    work: (looked: Looked) => Used<A>,
    instead: (error: unknown, kept: Snapshot) => A | undefined,
  ): Promise<A>
  /** Resolves once all that was used is kept. */
  settled(): Promise<void>
  /** Forgets who was looking long ago; returns how many. */
  sweep(): Promise<number>
}

const REMEMBERED = { max: 20_000, ttlMs: 5 * MINUTE_MS }
/** A process that ends while it looks keeps others from looking for no longer than this. */
const CLAIM_MS = 5 * SECOND_MS
/** How long, and how often, to see whether another process has finished looking. */
const WAIT = { mostMs: 1_400, everyMs: 20 }
/** What banks answered within so long of each other is kept together. Nobody who was answered waits for it. */
const KEEP_AFTER_MS = 5

/** One look at a time per account: whoever comes meanwhile waits, and then finds it kept. */
export function createSnapshots(
  { database, world, seal, consents, outbox }: AccountsDependencies,
  disclosures: DisclosureStore,
): Snapshots {
  const { clock, log } = world
  const store = snapshotStore(database, seal)
  const memory = createMemory<{ customerId: string; snapshot: Snapshot | undefined }>({
    clock,
    ...REMEMBERED,
    trusted: outbox.hearing,
  })
  outbox.onSignal((signal) => {
    if (signal.kind === 'CONSENT') memory.forgetWhere(({ customerId }) => customerId === signal.customerId)
  })
  const turns = new Map<string, Promise<unknown>>()

  const find = createGather((ids: readonly string[]) => store.find(ids))
  const claim = createGather((wanted: readonly Wanted[]): Promise<Claim[]> => {
    const now = clock.now()
    return store.claim(wanted, now, later(now, CLAIM_MS))
  })
  const keep = createGather(
    async (seen: readonly { bankAccount: string; snapshot: Snapshot }[]) => {
      await store.keep(seen)
      return seen.map(() => true)
    },
    { waitMs: KEEP_AFTER_MS },
  )
  const giveBackAmount = createGather(async (unused: readonly { bankAccount: string; day: Date }[]) => {
    await disclosures.giveBackAmounts(unused)
    return unused.map(() => true)
  })
  const release = createGather(async (ids: readonly string[]) => {
    await store.release(ids)
    return ids.map(() => true)
  })
  const atBank = createGather((looks: readonly Look[]): Promise<Promise<Balances>[]> => {
    const groups = new Map<string, Look[]>()
    const keyOf = ({ grant, customer }: Look): string => JSON.stringify([grant.connectionId, customer])
    for (const look of looks) groups.set(keyOf(look), [...(groups.get(keyOf(look)) ?? []), look])
    // Each group for itself: nobody waits for another's bank.
    const told = new Map([...groups].map(([key, group]) => [key, lookAt(group)]))
    return Promise.resolve(looks.map(async (look) => balancesIn(await told.get(keyOf(look))!, look)))
  })

  /** Accounts of one connection: in one call where the bank has such a call and there is more than one. */
  async function lookAt(group: readonly Look[]): Promise<Map<Look, Balances | GatewayError>> {
    const [{ grant, customer }] = group as [Look, ...Look[]]
    const ids = group.map(({ account }) => account.id)
    return consents.atBank(grant, ids, async (bank, access, refs) => {
      const bulk = group.length > 1 ? await bank.bulkBalances?.(access, refs, customer) : undefined
      const told = group.map(async (look, index) => {
        const ref = refs[index]!
        const one = bulk ? bulk.get(ref) : await bank.balances(access, ref, customer).catch(asGatewayError)
        return [look, one ?? new GatewayError('BALANCE_NOT_PROVIDED')] as const
      })
      return new Map(await Promise.all(told))
    })
  }

  /** What was found so far by somebody who looks. */
  interface Finding {
    kept: Snapshot | undefined
    /** The day of which an amount was taken. */
    chargedOn: Date | undefined
    /** Whether there is a claim that nothing has come of yet. */
    isMine: boolean
  }

  /** A snapshot that is young enough, asked of the bank where there is none and nobody else is asking. */
  async function newest(look: Look, finding: Finding): Promise<Looked> {
    const { account, windowMs, amountType } = look
    const { bankAccount } = account
    const began = performance.now()
    for (;;) {
      const [freshAfter, day] = [later(clock.now(), -windowMs), dayOf(clock.now())]
      const wish = finding.chargedOn ? null : amountType
      const { snapshot: kept, isMine, isCharged } = await claim({ bankAccount, freshAfter, day, amountType: wish })
      const isFresh = kept !== undefined && kept.fetchedAt > freshAfter
      finding.kept = kept
      finding.isMine = isMine
      if (isCharged) finding.chargedOn = day
      await look.recorded
      if (wish !== null && !isCharged && !(isFresh && kept.toldType === wish))
        throw new GatewayError('DISCLOSURE_BUDGET_SPENT')
      if (isFresh) return { snapshot: kept, freshness: 'CACHED' }
      if (isMine) {
        const { balances, untrusted } = await atBank(look)
        finding.isMine = false
        // The next ranges hang on the ones shown before.
        const bands = kept?.bands ?? {}
        return { snapshot: { balances, untrusted, fetchedAt: clock.now(), bands, toldType: null }, freshness: 'LIVE' }
      }
      if (performance.now() - began > WAIT.mostMs)
        throw new GatewayError('BANK_TIMEOUT', { internal: 'another process is looking' })
      await new Promise((resolve) => setTimeout(resolve, WAIT.everyMs))
    }
  }

  function inTurn({ bankAccount }: SharedAccount, work: () => Promise<unknown>): void {
    const turn = (turns.get(bankAccount) ?? Promise.resolve()).then(work).catch((error: unknown) => {
      log.warn('snapshot.not_kept', { code: asGatewayError(error).code })
    })
    turns.set(bankAccount, turn)
    void turn.finally(() => turns.get(bankAccount) === turn && turns.delete(bankAccount))
  }

  return {
    remembered: ({ bankAccount }) => memory.known(bankAccount)?.snapshot,

    kept({ bankAccount, customerId }) {
      const known = memory.get(bankAccount, async () => ({ customerId, snapshot: await find(bankAccount) }))
      return known instanceof Promise ? known.then(({ snapshot }) => snapshot) : known.snapshot
    },

    use: (look, work, instead) => {
      const { account, amountType } = look
      const { bankAccount, customerId } = account
      const { promise, resolve, reject } = Promise.withResolvers<ReturnType<typeof work>['answer']>()
      const finding: Finding = { kept: undefined, chargedOn: undefined, isMine: false }
      const giveBack = async (): Promise<void> => {
        if (finding.chargedOn) await giveBackAmount({ bankAccount, day: finding.chargedOn })
        finding.chargedOn = undefined
      }
      async function run(): Promise<void> {
        const moment = memory.moment()
        let looked: Looked | undefined
        let used: Snapshot | undefined
        try {
          looked = await newest(look, finding)
          used = looked.snapshot
          // Another process told it a moment ago: the same amount again is nothing new.
          if (amountType !== null && used.toldType === amountType) await giveBack()
          const { answer, snapshot } = work(looked)
          used = snapshot
          resolve(answer)
        } catch (error) {
          await giveBack()
          const answer = looked || !finding.kept ? undefined : instead(error, finding.kept)
          if (answer === undefined) reject(error)
          else resolve(answer)
        }
        // Nobody who was answered waits for the rest.
        if (finding.isMine) await release(bankAccount)
        if (!used) return
        memory.put(bankAccount, { customerId, snapshot: used }, moment)
        if (looked?.freshness === 'LIVE' || used !== looked?.snapshot) await keep({ bankAccount, snapshot: used })
      }
      inTurn(account, async () => {
        try {
          await run()
        } catch (error) {
          reject(error)
          throw error
        }
      })
      return promise
    },

    async settled() {
      await Promise.all(turns.values())
    },

    sweep: () => store.sweepClaims(later(clock.now(), -60 * MINUTE_MS)),
  }
}

function balancesIn(told: ReadonlyMap<Look, Balances | GatewayError>, look: Look): Balances {
  const one = told.get(look)!
  if (one instanceof GatewayError) throw one
  return one
}
