import type { BankBalance } from '../../connectors/index.ts'
import type { BalanceType } from '../../kernel/bank-vocabulary.ts'
import type { ErrorCode } from '../../kernel/errors.ts'
import type { Money } from '../../kernel/money.ts'
import type { CustomerScope } from '../../kernel/scopes.ts'
import type { Grant, SharedAccount } from '../consents/index.ts'
import type { Band } from './disclosure.ts'

/** An account as one client sees it under the customer's live consents. */
export interface OpenedAccount {
  /** The client's own name for it, for ever; another client's differs. */
  readonly publicId: string
  readonly account: SharedAccount
  readonly grants: readonly Grant[]
}

/** The grant by which this row may show what the scope opens, if there is one. */
export const grantFor = ({ grants }: OpenedAccount, scope: CustomerScope): Grant | undefined =>
  grants.find((grant) => grant.allows(scope))

/** LIVE: fetched for this very request. CACHED: fetched a moment ago for another one. */
export type Freshness = 'LIVE' | 'CACHED'

/** The newest balances of an account, as they are kept: sealed, and only these. */
export interface Snapshot {
  readonly balances: readonly BankBalance[]
  readonly fetchedAt: Date
  /** The band last shown of each kind, which its next one hangs on. */
  readonly bands: Readonly<Record<string, ShownBand>>
}

/** A range as it was shown. */
export interface ShownBand extends Band {
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
  readonly type: BalanceType
  readonly creditLineIncluded: boolean | null
  readonly asOf: Date
  readonly freshness: Freshness
}

/** A range, and of which kind of balance. */
export interface BalanceBand {
  readonly kind: 'BAND'
  readonly type: BalanceType
  readonly band: ShownBand
}
