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

/** One account of a look: what is to be done with its snapshot, and what was found so far. */
export interface Wish {
  readonly account: SharedAccount
  readonly work: (looked: Looked) => Used<unknown>
  readonly instead: (error: unknown, kept: Snapshot) => unknown
  readonly resolve: (answer: unknown) => void
  readonly reject: (error: unknown) => void
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

/** How a wish ends: with an answer where there is one, and with what is to be kept. */
export interface End {
  readonly wish: Wish
  readonly answer: unknown
  readonly error?: unknown
  readonly used?: Snapshot
  readonly isKept: boolean
  /** Whether an amount was told that had not been told from this snapshot before. */
  readonly isNew: boolean
}

/** The accounts of one look. */
export interface Group {
  readonly look: Look
  readonly wishes: Wish[]
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
  const nothing = { wish, answer: undefined, isKept: true, isNew: false }
  if (!('looked' in outcome)) {
    const { error } = outcome
    try {
      return { ...nothing, error, answer: wish.kept && wish.instead(error, wish.kept) }
    } catch (instead) {
      return { ...nothing, error: instead }
    }
  }
  const { snapshot, freshness } = outcome.looked
  const isKept = freshness === 'CACHED'
  try {
    const { answer, snapshot: used } = wish.work(outcome.looked)
    // Another process told it a moment ago: the same amount again is nothing new.
    return { wish, answer, used, isKept: isKept && used === snapshot, isNew: snapshot.toldType !== amountType }
  } catch (error) {
    return { ...nothing, error, used: snapshot, isKept }
  }
}

/** Tells whoever asked. */
export function say({ wish, answer, error }: End): void {
  if (answer === undefined) wish.reject(error)
  else wish.resolve(answer)
}
