import type { BankBalance } from '../../connectors/index.ts'
import type { BalanceType } from '../../kernel/bank-vocabulary.ts'
import type { ErrorCode } from '../../kernel/errors.ts'
import type { Decimal, Money } from '../../kernel/money.ts'
import type { CustomerScope } from '../../kernel/scopes.ts'
import type { Grant, SharedAccount } from '../consents/index.ts'
import type { Band } from './disclosure.ts'

/** An account as one client sees it under the customer's live consents. */
export interface AuthorizedAccount {
  /** The client's own name for it, for ever; another client's differs. */
  readonly publicId: string
  readonly account: SharedAccount
  readonly grants: readonly Grant[]
}

/** The grant by which this row may show what the scope opens, if there is one. */
export const grantFor = ({ grants }: AuthorizedAccount, scope: CustomerScope): Grant | undefined =>
  grants.find((grant) => grant.allows(scope))

/** LIVE: asked of the bank for this request. CACHED: asked a moment ago. STALE: too old, for want of the bank's answer. */
export type Freshness = 'LIVE' | 'CACHED' | 'STALE'

/** The newest balances of an account, as they are kept: sealed, and only these. */
export interface Snapshot {
  readonly balances: readonly BankBalance[]
  /** The kinds that the bank gave in a way that cannot be right. */
  readonly invalidTypes: readonly BalanceType[]
  /** The kinds, if any, that the bank gave in a currency that is not supported. */
  readonly unsupportedTypes?: readonly BalanceType[] | undefined
  readonly fetchedAt: Date
  /** The band last shown of each kind, which its next one hangs on. */
  readonly bands: Readonly<Record<string, DisclosedBand>>
  /** The kind of balance whose amount was told from this very snapshot. */
  readonly disclosedType: BalanceType | null
}

/** A range as it was shown. */
export interface DisclosedBand extends Band {
  /** When it was drawn, ISO 8601. */
  readonly asOf: string
}

/** Why there is no number. Never a zero, never an empty list. */
export interface BalanceUnavailable {
  readonly kind: 'UNAVAILABLE'
  readonly reason: ErrorCode
  readonly retryAt: Date | null
}

/** An amount, and when it was fetched. */
export interface ExactBalance extends Money {
  readonly kind: 'EXACT'
  readonly bankId: string
  /** Whose limits it counts against. */
  readonly disclosureKey: string
  readonly type: BalanceType
  readonly creditLineIncluded: boolean | null
  readonly creditLimit: Decimal | null
  /** ISO 8601. */
  readonly asOf: string
  readonly freshness: Freshness
  /** Why it is STALE. */
  readonly because: BalanceUnavailable | null
}

/** A range, and of which kind of balance. */
export interface BalanceBand {
  readonly kind: 'BAND'
  readonly bankId: string
  readonly type: BalanceType
  readonly band: DisclosedBand
  readonly creditLineIncluded: boolean | null
  readonly freshness: Freshness
  /** Why it is a range where the amount was asked for, or why it is STALE. */
  readonly because: BalanceUnavailable | null
}

/** Whether the balance is certainly at least the threshold. */
export interface BalanceAtLeast {
  readonly kind: 'AT_LEAST'
  /** Whose limits it counts against. */
  readonly disclosureKey: string
  readonly type: BalanceType
  readonly threshold: Money
  readonly certain: boolean
  readonly asOf: string
  readonly creditLineIncluded: boolean | null
  readonly freshness: Freshness
  readonly because: BalanceUnavailable | null
}

/** Which accounts are asked for; each part that is given must fit. */
export interface AccountFilter {
  readonly bankIds?: readonly string[] | null | undefined
  readonly types?: readonly string[] | null | undefined
  readonly currencies?: readonly string[] | null | undefined
  readonly statuses?: readonly string[] | null | undefined
}
