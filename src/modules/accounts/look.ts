import type { BalanceType } from '../../kernel/bank-vocabulary.ts'
import { asGatewayError } from '../../kernel/errors.ts'
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
  /** When an amount was taken of the account's limit. */
  chargedAt: Date | undefined
  /** Whether there is a claim that nothing has come of yet. */
  isMine: boolean
  /** Lets the next one use the account's snapshot, and tells it what came to nothing. */
  done: (failure?: Failure) => void
}

/** What a bank was asked in vain. */
export interface Failure {
  readonly error: unknown
  readonly kept: Snapshot | undefined
  /** Whether the customer was said to be there: banks answer otherwise where nobody is. */
  readonly isAttended: boolean
  /** When it was known, by the process's own clock, in milliseconds. */
  readonly atMs: number
}

/** What came of a wish: a snapshot, or why there is none. */
export type Outcome = { readonly wish: Wish } & (
  { readonly looked: Looked } | { readonly error: unknown; readonly failure?: Failure | undefined }
)

/** How a wish ends: with something to say to each who uses it, and with what is to be kept. */
export interface End {
  readonly wish: Wish
  readonly sayings: readonly (() => void)[]
  readonly used: Snapshot | undefined
  readonly isKept: boolean
  /** Whether an amount was told that had not been told from this snapshot before. */
  readonly isNew: boolean
  readonly failure: Failure | undefined
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

/** Whether asking the bank again may help: an older answer is better than none until it does. */
export function isTemporary(error: unknown): boolean {
  const { category, retryable } = asGatewayError(error).facts
  return category === 'BANK' && retryable
}

/** Whether a look that began at `beganMs` and waited for the one that failed would fail as well: it is not asked again. */
export const isShared = ({ error, kept, isAttended, atMs }: Failure, look: Look, beganMs: number, freshAfter: Date) =>
  atMs > beganMs &&
  isTemporary(error) &&
  isAttended === (look.customer !== null) &&
  !(kept && kept.fetchedAt > freshAfter)

/** Does what was wished with what came of it; never throws. */
export function endOf(outcome: Outcome, amountType: BalanceType | null): End {
  const { wish } = outcome
  if (!('looked' in outcome)) {
    const { error, failure } = outcome
    const sayings = wish.uses.map((use) => fallBack(use, error, wish.kept))
    return { wish, sayings, used: undefined, isKept: true, isNew: false, failure }
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
  return { wish, sayings, used, isKept, isNew: told > 0 && snapshot.toldType !== amountType, failure: undefined }
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
