import { SECOND_MS } from '../../kernel/clock.ts'
import type { PublicFailureCause } from '../../kernel/failure-causes.ts'

/** A URL at which a client receives webhooks. */
export interface WebhookEndpoint {
  readonly id: string
  readonly clientId: string
  readonly url: string
  readonly status: 'ACTIVE' | 'DISABLED'
}

/** Every status of a delivery. */
export const DELIVERY_STATUSES = ['PENDING', 'DELIVERED', 'DROPPED', 'FAILED'] as const
/**
 * DROPPED: before the endpoint accepted the message, the consent ended, the endpoint was disabled or the client became inactive.
 * FAILED: given up after the retry schedule.
 */
export type DeliveryStatus = (typeof DELIVERY_STATUSES)[number]

/** The delivery of one alert to one endpoint; there is one for each pair. Its ID is the `webhook-id` of every attempt. */
export interface Delivery {
  readonly id: string
  readonly alertId: string
  readonly webhookEndpointId: string
  /** The consent that it was scheduled for, or last sent under. */
  readonly consentId: string
  readonly status: DeliveryStatus
  /** Attempts of the current schedule that had an outcome. */
  readonly attemptCount: number
  readonly createdAt: Date
  /** When the next attempt is due, if the delivery is PENDING. */
  readonly nextAttemptAt: Date
}

/** A delivery that one process has claimed to attempt. Every claim has a different `claimedUntil`. */
export interface ClaimedDelivery extends Delivery {
  /** The end of the lease, by the database's clock. */
  readonly claimedUntil: Date
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

/** One attempt to deliver. */
export interface DeliveryAttempt {
  readonly number: number
  readonly attemptedAt: Date
  /** Null if the endpoint did not respond. */
  readonly httpStatus: number | null
  readonly outcome: DeliveryAttemptOutcome
  /** Why the endpoint could not be reached, or null if it was reached or the cause is unknown. */
  readonly failureCause: PublicFailureCause | null
}

/** The deliveries to replay: by ID, or all of a time range that have ended. */
export type DeliverySelection =
  { readonly deliveryIds: readonly string[] } | { readonly since: Date | undefined; readonly until: Date | undefined }

/** The maximum number of IDs in one replay, and of deliveries in the time range of one replay. */
export const REPLAY_LIMITS = { ids: 100, deliveries: 1_000 } as const

/**
 * Attempts in flight in one process: in total, of one client and of one endpoint. The last `reserved` slots are for clients with
 * at most `reservedPerClient` attempts, so that many slow clients leave room for the others.
 */
export const CONCURRENCY = { total: 200, perClient: 20, perEndpoint: 5, reserved: 40, reservedPerClient: 2 } as const
/** Longer than an attempt and storing its outcome. After it, deliveries of a process that was killed are due again. */
export const CLAIM_LEASE_MS = 20 * SECOND_MS
