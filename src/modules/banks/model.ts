import type { Problem, Registration, StandardId } from '../../connectors/index.ts'
import type { GatewayError } from '../../kernel/errors.ts'
import type { FailureCause, PublicFailureCause } from '../../kernel/failure-causes.ts'

/** A bank as customers know it. */
export interface Bank {
  readonly id: string
  readonly name: string
  readonly country: string
}

/** What stands in the way of a new bank: somebody has its id, or a name that customers would take for its own. */
export type BankConflict = 'id' | 'name'

/** The same for names that differ only in letter case, spaces and punctuation. */
export const bankNameKey = (name: string): string =>
  name
    .normalize('NFKC')
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, '')

/**
 * DRAFT → CERTIFYING → CERTIFIED → LIVE; SUSPENDED stops everything of its bank and can be lifted to LIVE again; RETIRED
 * is the end.
 */
export type ConnectorState = 'DRAFT' | 'CERTIFYING' | 'CERTIFIED' | 'LIVE' | 'SUSPENDED' | 'RETIRED'

/** A bank's registered interface. */
export interface Connector {
  readonly id: string
  readonly bankId: string
  /** The bank partner's client that registered it. */
  readonly clientId: string
  readonly standard: StandardId
  readonly status: ConnectorState
  readonly registration: Registration
  /** What the bank needs to recognise the gateway by. */
  readonly publicKeys: unknown
  /** What the gateway shows in mutual TLS, PEM, where the bank wants it. */
  readonly certificate: string | null
  /** False while the last certification failed: what is agreed goes on, and nothing new is. */
  readonly newConsents: boolean
}

/** What partners and admins are told of: a kind of call that broke or is well again, and how a nightly run went. */
export type NoticeKind = 'BROKEN' | 'RECOVERED' | 'CERTIFICATION_FAILED' | 'CERTIFIED_AGAIN'

/** One thing that was told of a connector. */
export interface Notice {
  readonly id: string
  readonly connectorId: string
  readonly at: Date
  readonly kind: NoticeKind
  /** The kind of call that it is about, where it is about one. */
  readonly operation: BankOperation | null
}

/** One step of a connector's life. */
export interface ConnectorChange {
  readonly kind: string
  readonly at: Date
  /** The client that did it; nobody where it followed from a run. */
  readonly clientId: string | null
}

/** When a bank announced that it will not answer. */
export interface MaintenanceWindow {
  readonly id: string
  readonly bankId: string
  /** Planned, or an incident that has begun. */
  readonly kind: 'MAINTENANCE' | 'INCIDENT'
  readonly from: Date
  readonly to: Date
}

/** Everything that a bank's interface is tried for, in this order. */
export type CheckName =
  | 'REACHABILITY'
  | 'CONSENT'
  | 'SIGN_IN_CANCELLED'
  | 'SIGN_IN_ABANDONED'
  | 'SIGN_IN'
  | 'ACCOUNTS'
  | 'PAGING'
  | 'BALANCES'
  | 'BULK_BALANCES'
  | 'ERRORS'
  | 'TOKEN_RENEWAL'
  | 'NO_PURCHASE_DATA'
  | 'EVENTS'
  | 'REVOKED_BY_GATEWAY'
  | 'REVOKED_AT_BANK'
  | 'LATENCY'

/** One thing that was tried, and the code of what went wrong. */
export interface CertificationCheck {
  readonly name: CheckName
  readonly passed: boolean
  readonly reason: string | null
  /** Why the bank could not be reached, where that was it; absent in runs of earlier versions. */
  readonly failureCause?: PublicFailureCause | null
  readonly tookMs: number
}

/** One run against a bank's interface. */
export interface CertificationReport {
  readonly id: string
  readonly connectorId: string
  /** Asked for by the partner, or the nightly one of a connector that is live. */
  readonly kind: 'MANUAL' | 'NIGHTLY'
  readonly at: Date
  /** True once every check did. */
  readonly passed: boolean
  /** As far as the run has come. */
  readonly checks: readonly CertificationCheck[]
  /** Absent while it runs, or waits to. */
  readonly finishedAt: Date | null
  /** The same as a signed statement: a JWS by the key that the bank knows the gateway by. */
  readonly statement: string | null
}

/** The kinds of calls at a bank. */
export type BankOperation = 'SIGN_IN' | 'ACCOUNTS' | 'BALANCES' | 'CONSENT' | 'TOKEN'

/** How often a part of a bank's answers could not be used. */
export interface ProblemCount {
  readonly problem: Problem
  readonly count: number
}

/** How many calls of one kind there were in a minute, and how they went. */
export interface CallCount {
  readonly connectorId: string
  readonly operation: BankOperation
  readonly minute: Date
  readonly calls: number
  readonly failures: number
  readonly totalMs: number
}

/** How often one kind of call failed in a minute because the bank could not be reached, and why. */
export interface FailureCount {
  readonly connectorId: string
  readonly operation: BankOperation
  readonly cause: FailureCause
  readonly minute: Date
  readonly count: number
}

/** How one kind of call went lately. */
export interface OperationHealth {
  readonly operation: BankOperation
  /** HEALTHY: less than 5 % failed. DEGRADED: less than half. DOWN: half or more. */
  readonly status: 'HEALTHY' | 'DEGRADED' | 'DOWN'
  readonly calls: number
  readonly failures: number
  readonly meanMs: number
  /** Why the bank could not be reached, the most frequent first. Failures in which it answered have no cause. */
  readonly failureCauses: readonly Pick<FailureCount, 'cause' | 'count'>[]
}

/** Temporary, and yet an answer about one customer or account that says nothing of how the bank is. */
const ACCOUNT_LEVEL_CODES: ReadonlySet<string> = new Set(['BANK_QUOTA_EXHAUSTED', 'ACCOUNT_UNAVAILABLE'])

/** Whether an error shows that the bank itself is not well; a no to one customer does not. */
export const isBankFailure = ({ code, definition }: GatewayError): boolean =>
  definition.category === 'BANK' && definition.retryable && !ACCOUNT_LEVEL_CODES.has(code)
