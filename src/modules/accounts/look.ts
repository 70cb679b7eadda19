import type { BalanceType } from '../../kernel/bank-vocabulary.ts'
import type { StatedCustomer } from '../../kernel/request.ts'
import type { Grant, SharedAccount } from '../consents/index.ts'
import type { Freshness, Snapshot } from './model.ts'

/** What accounts that are asked about in one breath have in common. */
export interface Look {
  readonly grant: Grant
  /** A snapshot that is younger than this will do, in milliseconds. */
  readonly windowMs: number
  readonly customer: StatedCustomer | null
  /** The kind of balance whose amount is to be told of each; nothing where none is. */
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

/** Somebody who uses a snapshot. */
export interface Use {
  readonly work: (looked: Looked) => Used<unknown>
  readonly instead: (error: unknown, kept: Snapshot) => unknown
  readonly resolve: (answer: unknown) => void
  readonly reject: (error: unknown) => void
}

/** One account of a look: who uses its snapshot, one after the other, and what was found so far. */
export interface Wish {
  readonly account: SharedAccount
  readonly uses: Use[]
  kept: Snapshot | undefined
  /** The day of which an amount was taken. */
  chargedOn: Date | undefined
  /** Whether there is a claim that nothing has come of yet. */
  isMine: boolean
  /** Lets the next one use the account's snapshot. */
  done: () => void
}

/** What came of a wish: a snapshot, or why there is none. */
export type Outcome = { readonly wish: Wish } & ({ readonly looked: Looked } | { readonly error: unknown })

/** How a wish ends: with something to say to each who uses it, and with what is to be kept. */
export interface End {
  readonly wish: Wish
  readonly sayings: readonly (() => void)[]
  readonly used: Snapshot | undefined
  readonly isKept: boolean
  /** Whether an amount was told that had not been told from this snapshot before. */
  readonly isNew: boolean
}

/** The accounts of one look, each once: who waited for a turn of their own group would wait for ever. */
export interface Group {
  readonly look: Look
  readonly wishes: Map<string, Wish>
}

/** Of one request, connection and kind: what is asked of one bank in one breath. */
export const isSame = (one: Look, other: Look): boolean =>
  one.recorded === other.recorded &&
  one.grant.connectionId === other.grant.connectionId &&
  one.amountType === other.amountType &&
  one.windowMs === other.windowMs &&
  one.customer === other.customer

/** Does what was wished with what came of it; never throws. */
export function endOf(outcome: Outcome, amountType: BalanceType | null): End {
  const { wish } = outcome
  if (!('looked' in outcome)) {
    const sayings = wish.uses.map((use) => fallBack(use, outcome.error, wish.kept))
    return { wish, sayings, used: undefined, isKept: true, isNew: false }
  }
  const { snapshot, freshness } = outcome.looked
  const sayings: (() => void)[] = []
  let used = snapshot
  let told = 0
  for (const { work, resolve, reject } of wish.uses)
    try {
      const { answer, snapshot: next } = work({ snapshot: used, freshness })
      used = next
      told++
      sayings.push(() => resolve(answer))
    } catch (error) {
      sayings.push(() => reject(error))
    }
  const isKept = freshness === 'CACHED' && used === snapshot
  // Another process told it a moment ago: the same amount again is nothing new.
  return { wish, sayings, used, isKept, isNew: told > 0 && snapshot.toldType !== amountType }
}

function fallBack({ instead, resolve, reject }: Use, error: unknown, kept: Snapshot | undefined): () => void {
  try {
    const answer = kept && instead(error, kept)
    return answer === undefined ? () => reject(error) : () => resolve(answer)
  } catch (thrown) {
    return () => reject(thrown)
  }
}

/** Tells whoever asked. */
export function say({ sayings }: End): void {
  for (const tell of sayings) tell()
}
