import { SECOND_MS } from '../../kernel/clock.ts'
import type { PublicFailureCause } from '../../kernel/failure-causes.ts'
import type { AlertSubject } from '../consents/index.ts'

/** Why an endpoint is disabled: by its client, or by the gateway because it responded with 410 or accepted nothing for days. */
export type DisabledReason = 'CLIENT' | 'GONE' | 'FAILING'

/**
 * The format of messages. STANDARD_WEBHOOKS: JSON with signatures in headers. SECURITY_EVENT_TOKEN: a signed SET (RFC 8417), pushed by
 * RFC 8935.
 */
export type WebhookFormat = 'STANDARD_WEBHOOKS' | 'SECURITY_EVENT_TOKEN'

/** The order of messages. PER_CUSTOMER: one at a time for each customer, by sequence number. */
export type WebhookOrdering = 'NONE' | 'PER_CUSTOMER'

/** A URL at which a client receives webhooks. */
export interface WebhookEndpoint {
  readonly id: string
  readonly clientId: string
  readonly url: string
  /** The format of new messages. */
  readonly format: WebhookFormat
  /** The order of new messages. */
  readonly ordering: WebhookOrdering
  readonly status: 'ACTIVE' | 'DISABLED'
  /** Null while it is ACTIVE. */
  readonly disabledAt: Date | null
  readonly disabledReason: DisabledReason | null
  /** The first of the failed attempts since the last accepted one. Null if none has failed since. */
  readonly failingSince: Date | null
  /** When an attempt was last accepted; up to a minute earlier than that. */
  readonly lastSuccessAt: Date | null
  /** The newest public key, `whpk_` and base64. Null until the first rotation of an endpoint from before there were key pairs. */
  readonly publicKey: string | null
  /** Until when the earlier keys of the last rotation also sign; it may have passed. Null without an overlap. */
  readonly secretOverlapEndsAt: Date | null
}

/** What an attempt needs to know of its endpoint. */
export interface ClaimedEndpoint extends Pick<
  WebhookEndpoint,
  'id' | 'clientId' | 'url' | 'failingSince' | 'lastSuccessAt'
> {
  /** Whether endpoint and client are ACTIVE. */
  readonly isActive: boolean
  /** The keys that sign, the newest first, each sealed. */
  readonly sealedKeys: readonly string[]
}

/** Every status of a delivery. */
export const DELIVERY_STATUSES = ['PENDING', 'DELIVERED', 'DROPPED', 'FAILED'] as const
/**
 * DROPPED: before the endpoint accepted the message, the consent ended, the endpoint was disabled or the client became inactive.
 * FAILED: given up after the retry schedule.
 */
export type DeliveryStatus = (typeof DELIVERY_STATUSES)[number]

/** The types of messages: of those that a client subscribes to by having an endpoint, and of test events. */
export const EVENT_TYPES = {
  alert: 'alert.received',
  consentExpiring: 'consent.expiring',
  test: 'endpoint.test',
} as const
/** One of the types. */
export type EventType = (typeof EVENT_TYPES)[keyof typeof EVENT_TYPES]
/** The types of messages about customers. */
export type CustomerEventType = Exclude<EventType, typeof EVENT_TYPES.test>

/** The types of messages about a consent itself. They are sent under that consent and no other. */
export const CONSENT_EVENT_TYPES: readonly EventType[] = [EVENT_TYPES.consentExpiring]

/**
 * What a message is about, which decides the consents that it may be sent under: an alert that came at a time, by any consent that
 * covered it then, or a consent itself.
 */
export type DeliverySubject =
  | (AlertSubject & { readonly kind: 'ALERT'; readonly createdAt: Date })
  | { readonly kind: 'CONSENT'; readonly consentId: string; readonly customerId: string }

/**
 * The delivery of one event to one endpoint; there is one for each pair of an alert and an endpoint. Its ID is the `webhook-id` of every
 * attempt.
 */
export interface Delivery {
  readonly id: string
  readonly eventType: EventType
  /** Null if it is not about an alert. */
  readonly alertId: string | null
  readonly webhookEndpointId: string
  /** The consent that it was scheduled for, or last sent under. Null for a test event. */
  readonly consentId: string | null
  readonly status: DeliveryStatus
  /** Attempts of the current schedule that had an outcome. */
  readonly attemptCount: number
  readonly createdAt: Date
  /** When the next attempt is due, if the delivery is PENDING. */
  readonly nextAttemptAt: Date
}

/**
 * The schedules of attempts. URGENT deliveries are attempted before others, and sooner again. TEST: few attempts, which are also made
 * while the circuit breaker of the endpoint is open.
 */
export type Priority = 'URGENT' | 'STANDARD' | 'TEST'

/** A delivery that one process has claimed to attempt, with all that the attempt needs. Every claim has a different `claimedUntil`. */
export interface ClaimedDelivery extends Delivery {
  /** The end of the lease, by the database's clock. */
  readonly claimedUntil: Date
  readonly priority: Priority
  readonly scheduleStartedAt: Date
  /** Null for a test event. */
  readonly subject: DeliverySubject | null
  /** The message, the same in every attempt, and its format. */
  readonly body: string
  readonly format: WebhookFormat
  /** Its place among the messages about the customer. */
  readonly sequence: number
  /** Whether it waits for earlier messages about the customer, and later ones wait for it. */
  readonly isInOrder: boolean
  readonly endpoint: ClaimedEndpoint
}

/** Selects deliveries of a client. All given conditions must hold. */
export interface DeliveryFilter {
  readonly statuses?: readonly DeliveryStatus[] | null | undefined
  readonly webhookEndpointId?: string | null | undefined
  /** Created at or after `since`, and before `until`. */
  readonly since?: Date | undefined
  readonly until?: Date | undefined
}

/** The outcome of an attempt. NOT_SENT: the gateway could not make the request. */
export type DeliveryAttemptOutcome =
  'NOT_SENT' | 'ACCEPTED' | 'REFUSED' | 'UNREACHABLE' | 'TIMED_OUT' | 'ADDRESS_NOT_ALLOWED'

/** Why a receiver rejects a SET: the codes of RFC 8935, 2.4, in upper case. */
export const SET_ERRORS = [
  'INVALID_REQUEST',
  'INVALID_KEY',
  'INVALID_ISSUER',
  'INVALID_AUDIENCE',
  'AUTHENTICATION_FAILED',
  'ACCESS_DENIED',
] as const
/** One of the codes. */
export type SetError = (typeof SET_ERRORS)[number]

/** One attempt to deliver. */
export interface DeliveryAttempt {
  readonly number: number
  readonly attemptedAt: Date
  /** Null if the endpoint did not respond. */
  readonly httpStatus: number | null
  readonly outcome: DeliveryAttemptOutcome
  /** Why the endpoint could not be reached, or null if it was reached or the cause is unknown. */
  readonly failureCause: PublicFailureCause | null
  /** The `err` of the response to a SET, or null if there is none, or another than RFC 8935 defines. */
  readonly setError: SetError | null
}

/** The deliveries to replay: by ID, or all of a time range that have ended. */
export type DeliverySelection =
  { readonly deliveryIds: readonly string[] } | { readonly since: Date | undefined; readonly until: Date | undefined }

/** The maximum number of IDs in one replay, and of deliveries in the time range of one replay. */
export const REPLAY_LIMITS = { ids: 100, deliveries: 1_000 } as const
/** How old a delivery may be that is replayed. */
export const REPLAY_DAYS = 30

/**
 * Attempts in flight in one process: in total, and of one client. The last `reserved` slots are for clients with at most
 * `reservedPerClient` attempts, so that many slow clients leave room for the others. `endpoint-limits.ts` has those of endpoints.
 */
export const CONCURRENCY = { total: 200, perClient: 40, reserved: 40, reservedPerClient: 2 } as const
/** Longer than an attempt and storing its outcome, if the database is not down for longer. After it, deliveries of a process that was killed are due again. */
export const CLAIM_LEASE_MS = 20 * SECOND_MS
/** How long after the start of a claim its attempts may start: each then ends, and its outcome is stored, before the lease ends. */
export const MAX_START_DELAY_MS = 5 * SECOND_MS
