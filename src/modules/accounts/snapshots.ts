import type { Balances } from '../../connectors/index.ts'
import { later, MINUTE_MS, SECOND_MS } from '../../kernel/clock.ts'
import { asGatewayError, GatewayError } from '../../kernel/errors.ts'
import { createGather } from '../../kernel/gather.ts'
import { createMemory } from '../../kernel/memory.ts'
import type { Consents, SharedAccount } from '../consents/index.ts'
import type { AccountsDependencies } from './dependencies.ts'
import type { Charge, DisclosureStore } from './disclosure-store.ts'
import {
  endOf,
  isSame,
  isShared,
  say,
  type Failure,
  type Group,
  type Look,
  type Looked,
  type Outcome,
  type Used,
  type Wish,
} from './look.ts'
import type { Snapshot } from './model.ts'
import { snapshotStore, type Claim, type Wanted } from './store.ts'

/** The newest balances of each account at its bank, shared by everybody who asks, whoever it is that shares it. */
export interface Snapshots {
  /** What this process remembers. */
  remembered(account: SharedAccount): Snapshot | undefined
  /** What is kept, at once where this process remembers it. */
  kept(account: SharedAccount): Snapshot | undefined | Promise<Snapshot | undefined>
  /**
   * Runs `work` on a snapshot that is young enough, while nothing else in this process uses the account's, and keeps what
   * it returns. Where the bank must be asked, it is asked once for all who want it at that moment, in this and all other
   * processes, and for the accounts of one look together; where that fails, `instead` may answer from what is kept,
   * however old, and otherwise it throws what the bank said, to all who waited for it. Where an amount is to be disclosed,
   * one is taken of the account's limit, unless it was disclosed from the same snapshot already, and given back where none
   * comes of it: where none is left, throws `DISCLOSURE_BUDGET_EXHAUSTED`.
   */
  use<A>(
    look: Look,
    account: SharedAccount,
    work: (looked: Looked) => Used<A>,
    instead: (error: unknown, kept: Snapshot) => A | undefined,
  ): Promise<A>
  /** Resolves once all that was used is kept. */
  settled(): Promise<void>
  /** Forgets who was looking long ago; returns how many. */
  sweep(): Promise<number>
}

type Seen = Parameters<ReturnType<typeof snapshotStore>['keep']>[0][number]

const REMEMBERED = { maxBytes: 16_777_216, ttlMs: 5 * MINUTE_MS }
/** A process that ends while it looks keeps others from looking for no longer than this. */
const CLAIM_MS = 5 * SECOND_MS
/** How long, and how often, to see whether another process has finished looking. */
const WAIT = { mostMs: 1_400, everyMs: 20 }
/** Whoever waited for another process that looked in vain looks themselves only if it was for no longer than this. */
const PATIENCE_MS = 100
/** What banks answered within so long of each other is kept together. Nobody who was answered waits for it. */
const KEEP_AFTER_MS = 20
/** Under load, a moment's patience makes one statement of many: the first comes at once. */
const CLAIM_EVERY_MS = 4
/** So many looks go into one statement at most, each with up to a page of accounts. */
const TOGETHER = { most: 50 }

/** One look at a time per account: whoever comes meanwhile waits, and then finds it kept. */
export function createSnapshots(
  {
    database,
    world,
    seal,
    consents,
    outbox,
  }: Pick<AccountsDependencies, 'database' | 'world' | 'seal' | 'outbox'> & { consents: Pick<Consents, 'atBank'> },
  disclosures: DisclosureStore,
): Snapshots {
  const { clock, log } = world
  const store = snapshotStore(database, seal)
  const memory = createMemory<{ customerId: string; snapshot: Snapshot | undefined }>({
    clock,
    ...REMEMBERED,
    tagsOf: ({ customerId }) => [customerId],
    trusted: outbox.hearing,
  })
  outbox.onSignal((signal) => {
    if (signal.kind === 'CONSENT' && signal.customerId !== null) memory.forgetTagged(signal.customerId)
  })
  /** Who uses an account's snapshot: resolved once they are done, with what they asked the bank in vain. */
  const turns = new Map<string, Promise<Failure | undefined>>()
  let gathered: Group[] = []

  const find = createGather((ids: readonly string[]) => store.find(ids))
  const claim = createGather(
    async (groups: readonly (readonly Wanted[])[]): Promise<{ claims: Claim[]; at: Date }[]> => {
      const now = clock.now()
      const claims = await store.claim(groups.flat(), now, CLAIM_MS)
      let at = 0
      return groups.map(({ length }) => ({ claims: claims.slice(at, (at += length)), at: now }))
    },
    { ...TOGETHER, restMs: CLAIM_EVERY_MS },
  )
  const keep = inOne((seen: readonly Seen[]) => store.keep(seen), { ...TOGETHER, waitMs: KEEP_AFTER_MS })
  const giveBack = inOne((unused: readonly Charge[]) => disclosures.giveBackAmounts(unused), TOGETHER)
  const release = inOne((ids: readonly string[]) => store.release(ids), TOGETHER)

  function start(): void {
    const groups = gathered
    const beganMs = performance.now()
    gathered = []
    for (const { look, wishes } of groups) {
      const [free, taken]: [Wish[], Wish[]] = [[], []]
      const before: Promise<Failure | undefined>[] = []
      for (const wish of wishes.values()) {
        const turn = takeTurn(wish)
        if (turn) before.push(turn)
        ;(turn ? taken : free).push(wish)
      }
      // Nobody waits for another's turn who has one.
      if (free.length > 0) void run(look, free)
      if (taken.length > 0) void Promise.all(before).then((failures) => follow(look, taken, failures, beganMs))
    }
  }

  /** The turn before, where there is one. */
  function takeTurn(wish: Wish): Promise<Failure | undefined> | undefined {
    const { bankAccount } = wish.account
    const before = turns.get(bankAccount)
    const own = new Promise<Failure | undefined>((resolve) => {
      wish.done = (failure) => {
        if (turns.get(bankAccount) === own) turns.delete(bankAccount)
        resolve(failure)
      }
    })
    turns.set(bankAccount, own)
    return before
  }

  /** Whoever waited while a bank was asked in vain shares what came of it: asking again would take as long again. */
  async function follow(
    look: Look,
    wishes: readonly Wish[],
    failures: readonly (Failure | undefined)[],
    beganMs: number,
  ): Promise<void> {
    const moment = memory.moment()
    const freshAfter = later(clock.now(), -look.windowMs)
    const shared: Outcome[] = []
    const again: Wish[] = []
    wishes.forEach((wish, index) => {
      const failure = failures[index]
      if (!failure || !isShared(failure, look, beganMs, freshAfter)) return void again.push(wish)
      wish.kept = failure.kept
      shared.push({ wish, error: failure.error, failure })
    })
    if (again.length > 0) void run(look, again)
    if (shared.length > 0) await end(look, await recorded(look, shared), moment)
  }

  /** The same once the ledger holds it, or why it does not. */
  async function recorded(look: Look, outcomes: readonly Outcome[]): Promise<readonly Outcome[]> {
    try {
      await look.recorded
      return outcomes
    } catch (error) {
      return outcomes.map(({ wish }) => ({ wish, error }))
    }
  }

  /** Never rejects: what goes wrong is what its wishes end with. */
  async function run(look: Look, wishes: readonly Wish[], waitingSinceMs?: number): Promise<void> {
    const moment = memory.moment()
    const beganMs = performance.now()
    const waitedMs = beganMs - (waitingSinceMs ?? beganMs)
    const now = clock.now()
    const freshAfter = later(now, -look.windowMs)
    try {
      await takeClaims(look, wishes, freshAfter)
      await look.recorded
    } catch (error) {
      return end(
        look,
        wishes.map((wish) => ({ wish, error })),
        moment,
      )
    }
    const { amountType } = look
    const known: Outcome[] = []
    const asking: Wish[] = []
    const waiting: Wish[] = []
    for (const wish of wishes) {
      const { kept, chargedAt } = wish
      const fresh = kept && kept.fetchedAt > freshAfter ? kept : undefined
      if (amountType !== null && !chargedAt && fresh?.toldType !== amountType)
        known.push({ wish, error: new GatewayError('DISCLOSURE_BUDGET_EXHAUSTED') })
      else if (fresh) known.push({ wish, looked: { snapshot: fresh, freshness: 'CACHED' } })
      else if (wish.isMine && waitedMs <= PATIENCE_MS) asking.push(wish)
      else if (wish.isMine || waitedMs > WAIT.mostMs)
        known.push({ wish, error: new GatewayError('BANK_TIMEOUT', { internal: 'another process looked' }) })
      else waiting.push(wish)
    }
    if (waiting.length > 0) setTimeout(() => void run(look, waiting, waitingSinceMs ?? beganMs), WAIT.everyMs)
    // Nobody waits for a bank whose balance is known.
    if (known.length > 0) void end(look, known, moment)
    if (asking.length > 0) await end(look, await lookAt(look, asking), moment)
  }

  async function takeClaims(look: Look, wishes: readonly Wish[], freshAfter: Date): Promise<void> {
    const { claims, at } = await claim(
      wishes.map(({ account: { bankAccount, disclosureKey }, chargedAt }) => ({
        bankAccount,
        disclosureKey,
        freshAfter,
        amountType: chargedAt ? null : look.amountType,
      })),
    )
    wishes.forEach((wish, index) => {
      const { snapshot, isMine, isCharged } = claims[index]!
      wish.kept = snapshot
      wish.isMine = isMine
      if (isCharged) wish.chargedAt = at
    })
  }

  /** Accounts of one connection: in one call where the bank has such a call and there is more than one. */
  async function lookAt({ grant, customer }: Look, wishes: readonly Wish[]): Promise<Outcome[]> {
    const inVain = (wish: Wish, error: unknown): Outcome => {
      const { kept } = wish
      return { wish, error, failure: { error, kept, isAttended: customer !== null, atMs: performance.now() } }
    }
    const ids = wishes.map(({ account }) => account.id)
    let told: readonly (Balances | GatewayError)[]
    try {
      told = await consents.atBank(grant, ids, async (bank, access, refs) => {
        const bulk = refs.length > 1 ? await bank.bulkBalances?.(access, refs, customer) : undefined
        if (bulk) return refs.map((ref) => bulk.get(ref) ?? new GatewayError('BALANCE_NOT_PROVIDED'))
        const each = await Promise.all(refs.map((ref) => bank.balances(access, ref, customer).catch(asGatewayError)))
        // It is the tokens that the bank refuses, and no account: there may be new ones.
        const isRefused = each.every((one) => one instanceof GatewayError && one.code === 'RECONNECT_REQUIRED')
        if (isRefused) throw asGatewayError(each[0])
        return each
      })
    } catch (error) {
      return wishes.map((wish) => inVain(wish, error))
    }
    const fetchedAt = clock.now()
    return wishes.map((wish, index) => {
      const one = told[index]!
      if (one instanceof GatewayError) return inVain(wish, one)
      wish.isMine = false
      // The next ranges hang on the ones shown before.
      const snapshot = { ...one, fetchedAt, bands: wish.kept?.bands ?? {}, toldType: null }
      return { wish, looked: { snapshot, freshness: 'LIVE' } }
    })
  }

  /** Answers, keeps what was used, and gives back and lets go of what came to nothing. */
  async function end({ amountType }: Look, outcomes: readonly Outcome[], moment: number): Promise<void> {
    const ends = outcomes.map((outcome) => endOf(outcome, amountType))
    const unused = ends.filter(({ wish, isNew }) => wish.chargedAt && !isNew)
    for (const one of ends) if (!unused.includes(one)) say(one)
    try {
      // Whoever asks what is left of the limit gets the right answer.
      if (unused.length > 0)
        await giveBack(unused.map(({ wish }) => ({ disclosureKey: wish.account.disclosureKey, at: wish.chargedAt! })))
      for (const one of unused) say(one)
      // Nobody who was answered waits for the rest.
      const failed = ends.flatMap(({ wish }) => (wish.isMine ? [wish.account.bankAccount] : []))
      if (failed.length > 0) await release(failed)
      const seen: Seen[] = []
      for (const { wish, used, isKept } of ends) {
        if (!used) continue
        const { bankAccount, customerId } = wish.account
        memory.put(bankAccount, { customerId, snapshot: used }, moment)
        if (!isKept) seen.push({ bankAccount, snapshot: used })
      }
      if (seen.length > 0) await keep(seen)
    } catch (error) {
      for (const { wish } of unused) for (const { reject } of wish.uses) reject(error)
      log.warn('snapshot.not_kept', { code: asGatewayError(error).code })
    } finally {
      for (const { wish, failure } of ends) wish.done(failure)
    }
  }

  return {
    remembered: ({ bankAccount }) => memory.known(bankAccount)?.snapshot,

    kept({ bankAccount, customerId }) {
      const load = async () => ({ customerId, snapshot: await find(bankAccount) })
      const known = memory.get(bankAccount, load, [customerId])
      return known instanceof Promise ? known.then(({ snapshot }) => snapshot) : known.snapshot
    },

    use: <A>(
      look: Look,
      account: SharedAccount,
      work: (looked: Looked) => Used<A>,
      instead: (error: unknown, kept: Snapshot) => A | undefined,
    ) =>
      new Promise<A>((resolve, reject) => {
        let group = gathered.findLast((one) => isSame(one.look, look))
        if (!group) {
          group = { look, wishes: new Map() }
          if (gathered.push(group) === 1) setImmediate(start)
        }
        const { wishes } = group
        let wish = wishes.get(account.bankAccount)
        if (!wish) {
          wish = { account, uses: [], kept: undefined, chargedAt: undefined, isMine: false, done: () => undefined }
          wishes.set(account.bankAccount, wish)
        }
        wish.uses.push({ work, instead, resolve: resolve as (answer: unknown) => void, reject })
      }),

    async settled() {
      await Promise.all(turns.values())
    },

    sweep: () => store.sweepClaims(),
  }
}

/** Does what many ask for in one statement: the parts of all who ask within a moment. */
function inOne<T>(
  work: (parts: readonly T[]) => Promise<void>,
  options: { most: number; waitMs?: number },
): (part: readonly T[]) => Promise<true> {
  return createGather(async (parts: readonly (readonly T[])[]) => {
    await work(parts.flat())
    return parts.map(() => true as const)
  }, options)
}
