import type { BankBalance } from '../../connectors/index.ts'
import type { BalanceType } from '../../kernel/bank-vocabulary.ts'
import type { Money } from '../../kernel/money.ts'
import type { Problem } from '../../kernel/problem.ts'
import type { CustomerScope } from '../../kernel/scopes.ts'
import type { AccountAccess, Grant, SharedAccount } from '../consents/index.ts'
import type { Band } from './disclosure.ts'

/** An account as one client sees it under the customer's live consents. */
export interface AuthorizedAccount {
  /** The client's own name for it, for ever; another client's differs. */
  readonly publicId: string
  readonly account: SharedAccount
  readonly grants: readonly Grant[]
}

/** Access to the account by the first of its grants that has the scope and has not expired. */
export function openAccount(
  { account, grants }: AuthorizedAccount,
  scope: CustomerScope,
  now: Date,
): AccountAccess | undefined {
  for (const grant of grants) {
    const access = grant.open(scope, account.id, now)
    if (access) return access
  }
  return undefined
}

/** LIVE: fetched from the bank for this request. CACHED: fetched a moment ago. STALE: too old, since the bank does not answer. */
export type Freshness = 'LIVE' | 'CACHED' | 'STALE'

/** A request for the balances of one account. */
export interface BalanceQuery {
  readonly row: AuthorizedAccount
  readonly type: BalanceType
  /** ISO 4217 codes that are wanted, or `null` for all that the account holds. */
  readonly currencies: readonly string[] | null
}
/** A request for exact balances that may be up to so old. */
export interface ExactQuery extends BalanceQuery {
  readonly maxAgeMs: number
}
/** A request whether a balance is at least so much, as the caller wrote it. */
export interface ThresholdQuery {
  readonly row: AuthorizedAccount
  readonly type: BalanceType
  readonly threshold: { readonly amount: string; readonly currency: string }
}

/** The newest balances of an account, as they are saved: sealed, and only these. */
export interface Snapshot {
  readonly balances: readonly BankBalance[]
  /** The types of balance that the bank gave in a way that cannot be right. */
  readonly invalidTypes: readonly BalanceType[]
  /** The types of balance, if any, that the bank gave in a currency that is not supported. */
  readonly unsupportedTypes?: readonly BalanceType[] | undefined
  readonly fetchedAt: Date
  /** The band last disclosed of each type and currency, which the next one depends on; by `TYPE/CURRENCY`. */
  readonly bands: Readonly<Record<string, DisclosedBand>>
  /** The type of balance of which exact values were disclosed from this very snapshot. */
  readonly disclosedType: BalanceType | null
}

/** A band as it was disclosed. */
export interface DisclosedBand extends Band {
  /** When it was drawn, ISO 8601. */
  readonly asOf: string
}

/** Why there is no value in a currency. Never a zero, never an empty list. */
export interface BalanceUnavailable {
  readonly kind: 'UNAVAILABLE'
  readonly bankId: string
  readonly type: BalanceType
  /** `null` if the bank has named none. */
  readonly currency: string | null
  readonly reason: Problem
}

/** An exact balance, and when it was fetched. */
export interface ExactBalance {
  readonly kind: 'EXACT'
  readonly bankId: string
  /** Whose limits it counts against. */
  readonly disclosureKey: string
  readonly type: BalanceType
  readonly value: Money
  readonly creditLineIncluded: boolean | null
  readonly creditLimit: Money | null
  /** ISO 8601. */
  readonly asOf: string
  readonly freshness: Freshness
  /** Why it is STALE. */
  readonly staleReason: Problem | null
}

/** A band that a balance lies in. */
export interface BalanceBand {
  readonly kind: 'BAND'
  readonly bankId: string
  readonly type: BalanceType
  readonly band: DisclosedBand
  readonly creditLineIncluded: boolean | null
  readonly freshness: Freshness
  /** Why it is a band, if an exact balance was wanted. */
  readonly fallbackReason: Problem | null
  /** Why it is STALE. */
  readonly staleReason: Problem | null
}

/** What is disclosed of a balance in one currency, or why nothing is. */
export type BalanceResult = ExactBalance | BalanceBand | BalanceUnavailable

/** Whether a balance is certainly at least the threshold. */
export interface BalanceAtLeast {
  readonly kind: 'AT_LEAST'
  readonly bankId: string
  /** Whose limits it counts against. */
  readonly disclosureKey: string
  readonly type: BalanceType
  readonly threshold: Money
  readonly outcome: 'AT_LEAST' | 'NOT_CERTAIN'
  /** ISO 8601. */
  readonly asOf: string
  readonly creditLineIncluded: boolean | null
  readonly freshness: Freshness
  /** Why it is STALE. */
  readonly staleReason: Problem | null
}

/** Which accounts are wanted; each part that is given must match. */
export interface AccountFilter {
  readonly bankIds?: readonly string[] | null | undefined
  readonly types?: readonly string[] | null | undefined
  /** One of the account's currencies must be among these. */
  readonly currencies?: readonly string[] | null | undefined
  readonly statuses?: readonly string[] | null | undefined
}
