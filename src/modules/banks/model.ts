import type { Registration, ResponseIssue, StandardId } from '../../connectors/index.ts'
import type { GatewayError } from '../../kernel/errors.ts'
import type { FailureCause, PublicFailureCause } from '../../kernel/failure-causes.ts'
import type { BankOperation } from './operations.ts'

/** A bank as customers know it. */
export interface Bank {
  readonly id: string
  readonly name: string
  /** ISO 3166-1 alpha-2. */
  readonly country: string
}

/** Whether a customer can connect the bank. NOT_OFFERED is reserved for banks that do not serve the calling platform. */
export type BankAvailability = 'AVAILABLE' | 'OUTAGE' | 'UNAVAILABLE' | 'NOT_OFFERED'

/** Which banks are wanted; each condition that is given must hold. */
export interface BankFilter {
  readonly countries?: readonly string[] | null | undefined
  readonly availability?: readonly BankAvailability[] | null | undefined
  /** Part of the name. */
  readonly search?: string | null | undefined
}

/** What stands in the way of a new bank: somebody has its id, or a name that customers would take for its own. */
export type BankConflict = 'id' | 'name'

/** Equal for names that differ only in letter case, spaces and punctuation. */
export const normalizeBankName = (name: string): string =>
  name
    .normalize('NFKC')
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, '')

/** The lifecycle of a connector; `lifecycle.ts` has the transitions. */
export type ConnectorStatus = 'DRAFT' | 'CERTIFYING' | 'CERTIFIED' | 'ACTIVE' | 'SUSPENDED' | 'RETIRED'

/** A bank's registered interface. */
export interface Connector {
  readonly id: string
  readonly bankId: string
  /** The bank partner's client that registered it. */
  readonly clientId: string
  readonly standard: StandardId
  readonly status: ConnectorStatus
  readonly registration: Registration
  /** The public keys that the bank knows the gateway by. */
  readonly jwks: unknown
  /** What the gateway shows in mutual TLS, PEM. Null if the bank does not want mutual TLS. */
  readonly clientCertificate: string | null
  /** False while the last scheduled certification failed: existing consents stay active, new ones are refused. */
  readonly acceptsNewConsents: boolean
}

/** Which connectors are wanted; each condition that is given must hold. */
export interface ConnectorFilter {
  readonly statuses?: readonly ConnectorStatus[] | null | undefined
  readonly standards?: readonly StandardId[] | null | undefined
  readonly bankIds?: readonly string[] | null | undefined
}

/** What a notice is about: an operation that is DOWN or HEALTHY again, or the result of a scheduled run. */
export type NoticeKind = 'BROKEN' | 'RECOVERED' | 'CERTIFICATION_FAILED' | 'CERTIFIED_AGAIN'

/** A notice to the partner and the admins about a connector. */
export interface Notice {
  readonly id: string
  readonly connectorId: string
  readonly occurredAt: Date
  readonly kind: NoticeKind
  /** Null if it is about no single operation. */
  readonly operation: BankOperation | null
}

/** A time in which a bank does not answer. */
export interface Outage {
  readonly id: string
  readonly bankId: string
  /** Announced before, or begun without notice. */
  readonly kind: 'MAINTENANCE' | 'INCIDENT'
  readonly startsAt: Date
  /** Equal to `startsAt` if it was taken back before it began. */
  readonly endsAt: Date
}

/** Every check of a certification run, in this order. */
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

/** One check of a certification run. */
export interface CertificationCheck {
  readonly name: CheckName
  readonly status: 'PASSED' | 'FAILED' | 'SKIPPED'
  /** Why it did not pass. Null if it did. */
  readonly code: string | null
  /** Why the bank could not be reached, if that is why it failed. Absent in runs of earlier versions. */
  readonly failureCause?: PublicFailureCause | null
  readonly durationMs: number
}

/** One run against a bank's interface. */
export interface CertificationRun {
  readonly id: string
  readonly connectorId: string
  /** Requested by the partner, or the daily run of an active connector. */
  readonly trigger: 'PARTNER' | 'SCHEDULED'
  readonly createdAt: Date
  /** Null while it waits. */
  readonly startedAt: Date | null
  /** RUNNING also while it waits. */
  readonly status: 'RUNNING' | 'PASSED' | 'FAILED'
  /** As far as the run has come. */
  readonly checks: readonly CertificationCheck[]
  /** Null while it is RUNNING. */
  readonly finishedAt: Date | null
  /** The result as a JWS, signed with the key that the bank knows the gateway by. Null while it is RUNNING. */
  readonly signedReport: string | null
}

/** How often a part of a bank's responses could not be used. */
export interface ResponseIssueCount {
  readonly code: ResponseIssue
  readonly count: number
}

/** How many calls of one operation there were in a minute, and how they went. */
export interface CallCount {
  readonly connectorId: string
  readonly operation: BankOperation
  readonly minute: Date
  readonly callCount: number
  readonly failureCount: number
  readonly totalDurationMs: number
}

/** How often one operation failed in a minute because the bank could not be reached, and why. */
export interface FailureCount {
  readonly connectorId: string
  readonly operation: BankOperation
  readonly cause: FailureCause
  readonly minute: Date
  readonly count: number
}

/** How one operation went in the last 15 minutes. */
export interface OperationHealth {
  readonly operation: BankOperation
  /** HEALTHY: less than 5 % failed. DEGRADED: less than half. DOWN: half or more. */
  readonly status: 'HEALTHY' | 'DEGRADED' | 'DOWN'
  readonly callCount: number
  readonly failureCount: number
  readonly meanDurationMs: number
  /** Why the bank could not be reached, the most frequent first. A failure to which the bank responded has no cause. */
  readonly failureCauses: readonly Pick<FailureCount, 'cause' | 'count'>[]
}

/** Temporary, and yet a response about one customer or account that says nothing about the bank's health. */
const ACCOUNT_LEVEL_CODES: ReadonlySet<string> = new Set(['BANK_QUOTA_EXHAUSTED', 'ACCOUNT_UNAVAILABLE'])

/** Whether an error is the bank's own failure. A refusal to one customer is not. */
export const isBankFailure = ({ code, definition }: GatewayError): boolean =>
  definition.category === 'BANK' && definition.retryable && !ACCOUNT_LEVEL_CODES.has(code)
