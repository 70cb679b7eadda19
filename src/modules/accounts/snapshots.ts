import type { BankBalance } from '../../connectors/index.ts'
import { later, MINUTE_MS } from '../../kernel/clock.ts'
import { createMemory } from '../../kernel/memory.ts'
import type { Grant } from '../consents/index.ts'
import type { AccountsDependencies } from './dependencies.ts'
import type { Freshness, Snapshot } from './model.ts'
import { snapshotStore } from './store.ts'

/** A snapshot, and whether it was fetched for whoever asks. */
export interface Looked {
  readonly snapshot: Snapshot
  readonly freshness: Exclude<Freshness, 'STALE'>
}

/** The newest balances of each account, shared by everybody who asks. */
export interface Snapshots {
  /** What is kept, at once where this process remembers it. */
  kept(accountId: string, customerId: string): Snapshot | undefined | Promise<Snapshot | undefined>
  /** The snapshot where it is younger than `windowMs`, otherwise a new one from the bank. Throws what the bank said. */
  within(windowMs: number, grant: Grant, accountId: string): Promise<Looked>
  /** Keeps a change of what was shown from the snapshot. */
  keep(accountId: string, snapshot: Snapshot): Promise<void>
  /** Runs `work` while nothing else changes this account's snapshot in this process. */
  inTurn<T>(accountId: string, work: () => Promise<T>): Promise<T>
}

const REMEMBERED = { max: 20_000, ttlMs: 5 * MINUTE_MS }

/** One look at a time per account: whoever comes meanwhile waits, and then finds it kept. */
export function createSnapshots({ database, world, seal, consents, outbox }: AccountsDependencies): Snapshots {
  const store = snapshotStore(database, seal)
  const memory = createMemory<{ customerId: string; snapshot: Snapshot | undefined }>({
    clock: world.clock,
    ...REMEMBERED,
    trusted: outbox.hearing,
  })
  outbox.onSignal((signal) => {
    if (signal.kind === 'CONSENT') memory.forgetWhere(({ customerId }) => customerId === signal.customerId)
  })
  const turns = new Map<string, Promise<unknown>>()

  const keep = async (accountId: string, snapshot: Snapshot): Promise<void> => {
    await store.keep(accountId, snapshot)
    memory.forget(accountId)
  }

  return {
    kept(accountId, customerId) {
      const known = memory.get(accountId, async () => ({ customerId, snapshot: await store.find(accountId) }))
      return known instanceof Promise ? known.then(({ snapshot }) => snapshot) : known.snapshot
    },

    async within(windowMs, grant, accountId) {
      const kept = await store.find(accountId)
      if (kept && later(kept.fetchedAt, windowMs) > world.clock.now()) return { snapshot: kept, freshness: 'CACHED' }
      const balances: BankBalance[] = await consents.atBank(grant, accountId, (bank, access, ref) =>
        bank.balances(access, ref),
      )
      // The next ranges hang on the ones shown before.
      const snapshot = { balances, fetchedAt: world.clock.now(), bands: kept?.bands ?? {}, toldType: null }
      await keep(accountId, snapshot)
      return { snapshot, freshness: 'LIVE' }
    },

    keep,

    inTurn(accountId, work) {
      const turn = (turns.get(accountId) ?? Promise.resolve()).catch(() => undefined).then(work)
      turns.set(accountId, turn)
      void turn.catch(() => undefined).finally(() => turns.get(accountId) === turn && turns.delete(accountId))
      return turn
    },
  }
}
