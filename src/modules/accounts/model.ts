import type { BankBalance } from '../../connectors/index.ts'
import type { BalanceType } from '../../kernel/bank-vocabulary.ts'
import type { Money } from '../../kernel/money.ts'
import type { Problem } from '../../kernel/problem.ts'
import type { CustomerScope } from '../../kernel/scopes.ts'
import type { AccountAccess, Grant, SharedAccount } from '../consents/index.ts'
import type { Band } from './disclosure.ts'

/** An account as one client sees it under the customer's active consents. */
export interface AuthorizedAccount {
  /** The account's ID for this client. Never changes; other clients have other IDs. */
  readonly publicId: string
  readonly account: SharedAccount
  readonly grants: readonly Grant[]
}

/** Access to the account under the first of its grants that has the scope and has not expired. Undefined if there is none. */
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

/** LIVE: fetched for this request. CACHED: fetched earlier, and recent enough. STALE: older than requested, because the bank provided no newer value. */
export type Freshness = 'LIVE' | 'CACHED' | 'STALE'

/** A request for the balances of one account. */
export interface BalanceQuery {
  readonly row: AuthorizedAccount
  readonly type: BalanceType
  /** The requested ISO 4217 codes, or `null` for all that the account holds. */
  readonly currencies: readonly string[] | null
}
/** A request for exact balances that are at most `maxAgeMs` old. */
export interface ExactQuery extends BalanceQuery {
  readonly maxAgeMs: number
}
/** A request whether a balance is at least `threshold`, as the caller wrote it. */
export interface ThresholdQuery {
  readonly row: AuthorizedAccount
  readonly type: BalanceType
  readonly threshold: { readonly amount: string; readonly currency: string }
}

/** The newest balances of an account. Saved sealed; older ones are not kept. */
export interface Snapshot {
  readonly balances: readonly BankBalance[]
  /** The types of balance for which the bank gave contradictory values. */
  readonly invalidTypes: readonly BalanceType[]
  /** The types of balance that the bank gave in a currency that is not supported. */
  readonly unsupportedTypes?: readonly BalanceType[] | undefined
  /** Whether the bank's list could not be read to its end. */
  readonly isPartial?: boolean | undefined
  readonly fetchedAt: Date
  /** The last disclosed band of each type and currency, by `TYPE/CURRENCY`. The next band depends on it. */
  readonly bands: Readonly<Record<string, DisclosedBand>>
  /** The type of the exact balances that were disclosed from this snapshot. `null` if none were. */
  readonly disclosedType: BalanceType | null
}

/** A disclosed band. */
export interface DisclosedBand extends Band {
  /** When the balance behind it was fetched, ISO 8601. */
  readonly asOf: string
}

/** Why there is no value in a currency. Takes the place of a zero or an empty list. */
export interface BalanceUnavailable {
  readonly kind: 'UNAVAILABLE'
  readonly bankId: string
  readonly type: BalanceType
  /** `null` if the bank has named no currency. */
  readonly currency: string | null
  readonly reason: Problem
}

/** An exact balance. */
export interface ExactBalance {
  readonly kind: 'EXACT'
  readonly bankId: string
  /** The key of the limits that it counts against. */
  readonly disclosureKey: string
  readonly type: BalanceType
  readonly value: Money
  readonly creditLineIncluded: boolean | null
  readonly creditLimit: Money | null
  /** When it was fetched, ISO 8601. */
  readonly asOf: string
  readonly freshness: Freshness
  /** Why it is STALE; otherwise `null`. */
  readonly staleReason: Problem | null
}

/** The band of a balance. */
export interface BalanceBand {
  readonly kind: 'BAND'
  readonly bankId: string
  readonly type: BalanceType
  readonly band: DisclosedBand
  readonly creditLineIncluded: boolean | null
  readonly freshness: Freshness
  /** Why it is a band, if an exact balance was requested; otherwise `null`. */
  readonly fallbackReason: Problem | null
  /** Why it is STALE; otherwise `null`. */
  readonly staleReason: Problem | null
}

/** What is disclosed of a balance in one currency, or why nothing is disclosed. */
export type BalanceResult = ExactBalance | BalanceBand | BalanceUnavailable

/** Whether a balance is certainly at least the threshold. */
export interface BalanceAtLeast {
  readonly kind: 'AT_LEAST'
  readonly bankId: string
  /** The key of the limits that it counts against. */
  readonly disclosureKey: string
  readonly type: BalanceType
  readonly threshold: Money
  readonly outcome: 'AT_LEAST' | 'NOT_CERTAIN'
  /** When the balance was fetched, ISO 8601. */
  readonly asOf: string
  readonly creditLineIncluded: boolean | null
  readonly freshness: Freshness
  /** Why it is STALE; otherwise `null`. */
  readonly staleReason: Problem | null
}

/** Which accounts are listed. Every given condition must match. */
export interface AccountFilter {
  readonly bankIds?: readonly string[] | null | undefined
  readonly types?: readonly string[] | null | undefined
  /** One of the account's currencies must be among these. */
  readonly currencies?: readonly string[] | null | undefined
  readonly statuses?: readonly string[] | null | undefined
}
