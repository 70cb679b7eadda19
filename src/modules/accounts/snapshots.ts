import type { BankBalance } from '../../connectors/index.ts'
import { later, MINUTE_MS } from '../../kernel/clock.ts'
import { createMemory } from '../../kernel/memory.ts'
import type { Grant, SharedAccount } from '../consents/index.ts'
import type { AccountsDependencies } from './dependencies.ts'
import type { Freshness, Snapshot } from './model.ts'
import { snapshotStore } from './store.ts'

/** A snapshot, and whether it was fetched for whoever asks. */
export interface Looked {
  readonly snapshot: Snapshot
  readonly freshness: Exclude<Freshness, 'STALE'>
}

/** The newest balances of each account at its bank, shared by everybody who asks, whoever it is that shares it. */
export interface Snapshots {
  /** What is kept, at once where this process remembers it. */
  kept(account: SharedAccount): Snapshot | undefined | Promise<Snapshot | undefined>
  /** The snapshot where it is younger than `windowMs`, otherwise a new one from the bank. Throws what the bank said. */
  within(windowMs: number, grant: Grant, account: SharedAccount): Promise<Looked>
  /** Keeps a change of what was shown from the snapshot. */
  keep(account: SharedAccount, snapshot: Snapshot): Promise<void>
  /** Runs `work` while nothing else changes this account's snapshot in this process. */
  inTurn<T>(account: SharedAccount, work: () => Promise<T>): Promise<T>
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

  const keep = async ({ bankAccount }: SharedAccount, snapshot: Snapshot): Promise<void> => {
    await store.keep(bankAccount, snapshot)
    memory.forget(bankAccount)
  }

  return {
    kept({ bankAccount, customerId }) {
      const known = memory.get(bankAccount, async () => ({ customerId, snapshot: await store.find(bankAccount) }))
      return known instanceof Promise ? known.then(({ snapshot }) => snapshot) : known.snapshot
    },

    async within(windowMs, grant, account) {
      const kept = await store.find(account.bankAccount)
      if (kept && later(kept.fetchedAt, windowMs) > world.clock.now()) return { snapshot: kept, freshness: 'CACHED' }
      const balances: BankBalance[] = await consents.atBank(grant, account.id, (bank, access, ref) =>
        bank.balances(access, ref),
      )
      // The next ranges hang on the ones shown before.
      const snapshot = { balances, fetchedAt: world.clock.now(), bands: kept?.bands ?? {}, toldType: null }
      await keep(account, snapshot)
      return { snapshot, freshness: 'LIVE' }
    },

    keep,

    inTurn({ bankAccount }, work) {
      const turn = (turns.get(bankAccount) ?? Promise.resolve()).catch(() => undefined).then(work)
      turns.set(bankAccount, turn)
      void turn.catch(() => undefined).finally(() => turns.get(bankAccount) === turn && turns.delete(bankAccount))
      return turn
    },
  }
}
