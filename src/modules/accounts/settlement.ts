import type { BalanceType } from '../../kernel/bank-vocabulary.ts'
import { toGatewayError } from '../../kernel/errors.ts'
import type { Log } from '../../kernel/log.ts'
import type { Consents } from '../consents/index.ts'
import type { AccountFetch, BalanceFetch, FetchFailure, FetchOutcome, SnapshotReader } from './balance-fetch.ts'
import { newCurrencies } from './currencies.ts'
import type { Charge } from './disclosure-store.ts'
import type { Snapshot } from './model.ts'
import type { SnapshotWrite } from './store.ts'

/** How the fetch of an account ends: with something to say to everybody who waits for it, and with what is to be saved. */
interface Settlement {
  readonly accountFetch: AccountFetch
  readonly callbacks: readonly (() => void)[]
  readonly updatedSnapshot: Snapshot | undefined
  readonly isSaved: boolean
  /** Whether exact balances were disclosed that had not been disclosed from this snapshot before. */
  readonly isNewDisclosure: boolean
  readonly failure: FetchFailure | undefined
}

/** Where settlements are written to. */
export interface SettlementTargets {
  readonly log: Log
  readonly addCurrencies: Consents['addCurrencies']
  readonly remember: (accountFetch: AccountFetch, snapshot: Snapshot, epoch: number) => void
  readonly saveSnapshots: (writes: readonly SnapshotWrite[]) => Promise<unknown>
  readonly refundCharges: (charges: readonly Charge[]) => Promise<unknown>
  readonly releaseClaims: (bankAccountKeys: readonly string[]) => Promise<unknown>
}

/**
 * Notifies whoever waits for these outcomes, saves what was fetched, and gives back and lets go of what came to nothing. Never
 * rejects.
 */
export async function settle(
  targets: SettlementTargets,
  { exactType }: BalanceFetch,
  outcomes: readonly FetchOutcome[],
  epoch: number,
): Promise<void> {
  const settlements = outcomes.map((outcome) => buildSettlement(outcome, exactType))
  const unusedCharges = settlements.filter(
    ({ accountFetch, isNewDisclosure }) => accountFetch.chargedAt && !isNewDisclosure,
  )
  for (const settlement of settlements) if (!unusedCharges.includes(settlement)) notify(settlement)
  try {
    // Whoever asks what is left of the limit gets the right answer.
    if (unusedCharges.length > 0) await targets.refundCharges(unusedCharges.map(toCharge))
    for (const settlement of unusedCharges) notify(settlement)
    // Nobody who was answered waits for the rest.
    const unfinishedClaims = settlements.flatMap(({ accountFetch }) =>
      accountFetch.hasClaim ? [accountFetch.account.bankAccountKey] : [],
    )
    if (unfinishedClaims.length > 0) await targets.releaseClaims(unfinishedClaims)
    await save(targets, settlements, epoch)
  } catch (error) {
    for (const { accountFetch } of unusedCharges) for (const { reject } of accountFetch.readers) reject(error)
    targets.log.warn('snapshot.write_failed', { code: toGatewayError(error).code })
  } finally {
    for (const { accountFetch, failure } of settlements) accountFetch.finish(failure)
  }
}

async function save(
  { remember, saveSnapshots, addCurrencies }: SettlementTargets,
  settlements: readonly Settlement[],
  epoch: number,
): Promise<void> {
  const writes: SnapshotWrite[] = []
  for (const { accountFetch, updatedSnapshot, isSaved } of settlements) {
    if (!updatedSnapshot) continue
    remember(accountFetch, updatedSnapshot, epoch)
    if (!isSaved) writes.push({ bankAccountKey: accountFetch.account.bankAccountKey, snapshot: updatedSnapshot })
  }
  if (writes.length > 0) await saveSnapshots(writes)
  for (const { accountFetch, updatedSnapshot } of settlements) {
    const added = updatedSnapshot ? newCurrencies(accountFetch.account, updatedSnapshot) : []
    if (added.length > 0) await addCurrencies(accountFetch.account, added)
  }
}

const toCharge = ({ accountFetch }: Settlement): Charge => ({
  disclosureKey: accountFetch.account.disclosureKey,
  at: accountFetch.chargedAt!,
})

/** Reads what came of a fetch for everybody who waits for it; never throws. */
function buildSettlement(outcome: FetchOutcome, exactType: BalanceType | null): Settlement {
  const { accountFetch } = outcome
  if (!('fetched' in outcome)) {
    const { error, failure } = outcome
    const callbacks = accountFetch.readers.map((use) => fallBack(use, error, accountFetch.cached))
    return { accountFetch, callbacks, updatedSnapshot: undefined, isSaved: true, isNewDisclosure: false, failure }
  }
  const { snapshot, freshness } = outcome.fetched
  const callbacks: (() => void)[] = []
  let updatedSnapshot = snapshot
  for (const { read, resolve, reject } of accountFetch.readers)
    try {
      const { value, snapshot: next } = read({ snapshot: updatedSnapshot, freshness })
      updatedSnapshot = next
      callbacks.push(() => resolve(value))
    } catch (error) {
      callbacks.push(() => reject(error))
    }
  return {
    accountFetch,
    callbacks,
    updatedSnapshot,
    isSaved: freshness === 'CACHED' && updatedSnapshot === snapshot,
    // Another process may have disclosed it a moment ago: the same values again are nothing new.
    isNewDisclosure: snapshot.disclosedType !== exactType && updatedSnapshot.disclosedType === exactType,
    failure: undefined,
  }
}

function fallBack(
  { onFailure, resolve, reject }: SnapshotReader,
  error: unknown,
  cached: Snapshot | undefined,
): () => void {
  try {
    const value = cached && onFailure(error, cached)
    return value === undefined ? () => reject(error) : () => resolve(value)
  } catch (thrown) {
    return () => reject(thrown)
  }
}

function notify({ callbacks }: Settlement): void {
  for (const callback of callbacks) callback()
}
