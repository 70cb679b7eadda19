import {
  STANDARDS,
  type EventStreamStatus,
  type IgnoredReason,
  type Registration,
  type ResponseIssue,
  type SignInField,
  type SignInKind,
  type StandardId,
} from '../../connectors/index.ts'
import type { ErrorCode, GatewayError } from '../../kernel/errors.ts'
import type { FailureCause, PublicFailureCause } from '../../kernel/failure-causes.ts'
import type { BankOperation } from './operations.ts'

export type { EventStreamStatus } from '../../connectors/index.ts'

/** A bank. */
export interface Bank {
  readonly id: string
  readonly name: string
  /** ISO 3166-1 alpha-2. */
  readonly country: string
}

/** Whether a customer can connect the bank. NOT_OFFERED: the bank does not serve the calling client's organization. */
export type BankAvailability = 'AVAILABLE' | 'OUTAGE' | 'UNAVAILABLE' | 'NOT_OFFERED'

/** Which organizations a bank serves: all, only the listed ones, or all except the listed ones. */
export type PlatformAccessMode = 'ALL' | 'ONLY' | 'ALL_EXCEPT'

/** Which platforms a bank serves, through whichever of its connectors. */
export interface PlatformAccess {
  readonly mode: PlatformAccessMode
  /** Empty for ALL. */
  readonly organizationIds: readonly string[]
}

/** Whether a bank with this setting serves the clients of an organization. */
export const servesOrganization = ({ mode, organizationIds }: PlatformAccess, organizationId: string): boolean =>
  mode === 'ALL' || organizationIds.includes(organizationId) === (mode === 'ONLY')

/** A bank, and a client that it may or may not serve. */
export interface BankAndClient {
  readonly bankId: string
  readonly clientId: string
}

/** A bank that accepts new consents. */
export interface ConnectableBank extends Bank {
  /** Whether it accepts them from clients of the organization in question. */
  readonly isOffered: boolean
}

/** A filter of banks. Every given condition must match. */
export interface BankFilter {
  readonly countries?: readonly string[] | null | undefined
  readonly availability?: readonly BankAvailability[] | null | undefined
  /** Part of the name. */
  readonly search?: string | null | undefined
}

/** Why a bank cannot be added: its ID is taken, or another bank has a name that customers could confuse with its name. */
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
  /** The name of the profile that the registration began with. Null if it began with none. */
  readonly profile: string | null
  /** The revision of that profile then. */
  readonly profileRevision: string | null
  /** The gateway's public keys for this bank. */
  readonly jwks: unknown
  /** The gateway's certificate for mutual TLS, in PEM. Null if the bank does not require mutual TLS. */
  readonly clientCertificate: string | null
  /** False after a failed scheduled certification run: existing consents stay active, new ones are rejected. */
  readonly acceptsNewConsents: boolean
}

/** The deadline of a read whose registration states none, in milliseconds. */
export const DEFAULT_READ_DEADLINE_MS = 1_400

/** The deadline of a read at a connector, in milliseconds. */
export const readDeadlineMsOf = ({ readTimeoutMs }: Pick<Registration, 'readTimeoutMs'>): number =>
  readTimeoutMs ?? DEFAULT_READ_DEADLINE_MS

/** How the customers of a connector sign in, as far as it is known before. */
export interface SignInOutline {
  readonly kind: SignInKind
  /** Whether the gateway first asks who the customer is, or for the account. */
  readonly asksFirst: boolean
}

/** How customers sign in at a connector. */
export function outlineSignIn({ standard, registration }: Connector): SignInOutline {
  const { signInKind = 'OAUTH', questions = [] } = STANDARDS[standard].describe(registration)
  return { kind: signInKind, asksFirst: questions.some((name) => !CONFIRMING_FIELDS.has(name)) }
}
/** What is asked only after the customer is known. */
const CONFIRMING_FIELDS: ReadonlySet<SignInField['name']> = new Set(['SCA_METHOD', 'ONE_TIME_CODE'])

/** A filter of connectors. Every given condition must match. */
export interface ConnectorFilter {
  readonly statuses?: readonly ConnectorStatus[] | null | undefined
  readonly standards?: readonly StandardId[] | null | undefined
  readonly bankIds?: readonly string[] | null | undefined
}

/** The kind of a notice: an operation that is DOWN or HEALTHY again, the result of a scheduled run, or an expiry. */
export type NoticeKind =
  'DOWN' | 'RECOVERED' | 'CERTIFICATION_FAILED' | 'CERTIFIED_AGAIN' | 'CERTIFICATE_EXPIRING' | 'CERTIFICATE_EXPIRED'

/** A notice to the partner and the admins about a connector. */
export interface Notice {
  readonly id: string
  readonly connectorId: string
  readonly occurredAt: Date
  readonly kind: NoticeKind
  /** The affected operation. Null if the notice is not about an operation. */
  readonly operation: BankOperation | null
}

/** A period in which a bank is unavailable. */
export interface Outage {
  readonly id: string
  readonly bankId: string
  /** Whether the outage was planned. */
  readonly kind: 'MAINTENANCE' | 'INCIDENT'
  readonly startsAt: Date
  /** Equal to `startsAt` if the outage was cancelled before it began. */
  readonly endsAt: Date
}

/**
 * How much a certification run shows; each level contains the checks of those before it. STATIC needs nobody, ATTENDED a person who
 * signs in at the bank once, AUTOMATIC the bank's test interface.
 */
export const CERTIFICATION_LEVELS = ['STATIC', 'ATTENDED', 'AUTOMATIC'] as const
/** A level of certification. */
export type CertificationLevel = (typeof CERTIFICATION_LEVELS)[number]

/** Whether a run of level `level` contains the checks of level `other`. */
export const includesLevel = (level: CertificationLevel, other: CertificationLevel): boolean =>
  CERTIFICATION_LEVELS.indexOf(level) >= CERTIFICATION_LEVELS.indexOf(other)

/** Every check of a certification run, in this order. */
export type CheckName =
  | 'REQUIREMENTS'
  | 'REACHABILITY'
  | 'METADATA'
  | 'TLS'
  | 'BANK_KEYS'
  | 'CONSENT'
  | 'SIGN_IN_CANCELLED'
  | 'SIGN_IN_ABANDONED'
  | 'SIGN_IN'
  | 'ACCOUNTS'
  | 'PAGING'
  | 'BALANCES'
  | 'BULK_BALANCES'
  | 'RESULT_FIELDS'
  | 'ERRORS'
  | 'FAULTS'
  | 'TOKEN_RENEWAL'
  | 'NO_PURCHASE_DATA'
  | 'EVENTS'
  | 'REVOKED_BY_GATEWAY'
  | 'REVOKED_AT_BANK'
  | 'LATENCY'
  | 'REQUESTS'

/** One check of a certification run. */
export interface CertificationCheck {
  readonly name: CheckName
  readonly status: 'PASSED' | 'FAILED' | 'SKIPPED'
  /** Why the check did not pass. Null if it passed. */
  readonly code: string | null
  /** Why the bank could not be reached, if the check failed for this reason. Absent in runs of earlier versions. */
  readonly failureCause?: PublicFailureCause | null
  readonly durationMs: number
}

/** One certification run of a connector. */
export interface CertificationRun {
  readonly id: string
  readonly connectorId: string
  readonly level: CertificationLevel
  /** Requested by the partner, or the scheduled run of an active connector. */
  readonly trigger: 'PARTNER' | 'SCHEDULED'
  readonly createdAt: Date
  /** Null while the run is queued. */
  readonly startedAt: Date | null
  /** Also RUNNING while the run is queued. */
  readonly status: 'RUNNING' | 'PASSED' | 'FAILED'
  /** The checks that have finished. */
  readonly checks: readonly CertificationCheck[]
  /** Null while it is RUNNING. */
  readonly finishedAt: Date | null
  /** The result as a JWS, signed with the gateway's key for this bank. Null while the run is RUNNING, and if it was not completed. */
  readonly signedReport: string | null
  /** Why the run could not be completed, so that it says nothing about the bank. Null if it was completed. */
  readonly failureCode: ErrorCode | null
}

/** How a bank's connector was certified. */
export interface BankCertification {
  readonly level: CertificationLevel
  readonly certifiedAt: Date
  /** The checks that the run did not have. */
  readonly notShown: readonly CheckName[]
}

/** The number of issues of one kind in a bank's responses. */
export interface ResponseIssueCount {
  readonly code: ResponseIssue
  readonly count: number
}

/**
 * What became of an event of a bank. ALERT: it led to at least one alert. CONSENT_ENDED: it reported the end of a consent. STREAM: it
 * was about the stream of events itself. UNKNOWN_SUBJECT
 * also if it is about an account that nobody shares. DUPLICATE: it was received before. REJECTED: a check failed.
 */
export type EventOutcome =
  'ALERT' | 'CONSENT_ENDED' | 'STREAM' | 'RESPONSE_REPORT' | IgnoredReason | 'DUPLICATE' | 'REJECTED'

/** The stream in which a bank sends its events, as far as the gateway knows. */
export interface EventStream {
  readonly status: EventStreamStatus
  /** When the bank stated the status. Null if it never did. */
  readonly checkedAt: Date | null
  /** When the gateway last requested a verification event. */
  readonly verificationRequestedAt: Date | null
  /** When a verification event with the right state last arrived. */
  readonly verifiedAt: Date | null
}

/** The events of a connector with one outcome on one day (UTC). */
export interface EventCount {
  readonly connectorId: string
  readonly day: Date
  readonly outcome: EventOutcome
  /** The type of an event without effect, if a standard defines it. */
  readonly eventType: string | null
  readonly count: number
}

/** The calls and failures of one operation in one minute. */
export interface CallCount {
  readonly connectorId: string
  readonly operation: BankOperation
  readonly minute: Date
  readonly callCount: number
  readonly failureCount: number
  readonly totalDurationMs: number
}

/** The failures of one operation in one minute in which the bank could not be reached, with one cause. */
export interface FailureCount {
  readonly connectorId: string
  readonly operation: BankOperation
  readonly cause: FailureCause
  readonly minute: Date
  readonly count: number
}

/** The health of one operation in the last 15 minutes. */
export interface OperationHealth {
  readonly operation: BankOperation
  /** HEALTHY: less than 5 % failed. DEGRADED: less than half. DOWN: half or more. */
  readonly status: 'HEALTHY' | 'DEGRADED' | 'DOWN'
  readonly callCount: number
  readonly failureCount: number
  readonly meanDurationMs: number
  /** Why the bank could not be reached, by cause, most frequent first. Failures with a response have no cause. */
  readonly failureCauses: readonly Pick<FailureCount, 'cause' | 'count'>[]
}

/** Temporary errors that concern one customer or account and not the bank's health. */
const ACCOUNT_LEVEL_CODES: ReadonlySet<string> = new Set(['BANK_QUOTA_EXHAUSTED', 'ACCOUNT_UNAVAILABLE'])

/** Whether an error is a failure of the bank. A rejection of one customer's request is not. */
export const isBankFailure = ({ code, definition }: GatewayError): boolean =>
  definition.category === 'BANK' && definition.retryable && !ACCOUNT_LEVEL_CODES.has(code)
