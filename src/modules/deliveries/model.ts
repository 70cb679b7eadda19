import { HOUR_MS, MINUTE_MS, SECOND_MS } from '../../kernel/clock.ts'
import type { PublicFailureCause } from '../../kernel/failure-causes.ts'

/** An address that a client receives webhooks at. */
export interface WebhookEndpoint {
  readonly id: string
  readonly clientId: string
  readonly url: string
  readonly status: 'ACTIVE' | 'DISABLED'
}

/** Every status of a delivery. */
export const DELIVERY_STATUSES = ['PENDING', 'DELIVERED', 'DROPPED', 'FAILED'] as const
/** DROPPED: the consent ended before the message was out. FAILED: given up by its age. */
export type DeliveryStatus = (typeof DELIVERY_STATUSES)[number]

/** One alert on its way to one endpoint: there is only one for both. Its id is the webhook's message id for life. */
export interface Delivery {
  readonly id: string
  readonly alertId: string
  readonly webhookEndpointId: string
  /** The consent that it was planned under or last sent under. */
  readonly consentId: string
  readonly status: DeliveryStatus
  /** Attempts of the current schedule that had an outcome. */
  readonly attemptCount: number
  readonly createdAt: Date
  /** When it is tried next, while it is PENDING. */
  readonly nextAttemptAt: Date
}

/** A delivery that one process attempts. Whoever claims it later has another `claimedUntil`. */
export interface ClaimedDelivery extends Delivery {
  /** When the claim ends, by the database's clock. */
  readonly claimedUntil: Date
}

/** Which of a client's deliveries are asked for. */
export interface DeliveryFilter {
  readonly statuses?: readonly DeliveryStatus[] | null | undefined
  readonly webhookEndpointId?: string | null | undefined
  /** Created at `since` or later, and before `until`. */
  readonly since?: Date | undefined
  readonly until?: Date | undefined
}

/** How an attempt ended. NOT_SENT: the gateway could not make the request. */
export type DeliveryAttemptOutcome =
  'NOT_SENT' | 'ACCEPTED' | 'REFUSED' | 'UNREACHABLE' | 'TIMED_OUT' | 'ADDRESS_NOT_ALLOWED'

/** One attempt to deliver. */
export interface DeliveryAttempt {
  readonly number: number
  readonly attemptedAt: Date
  /** Absent if the endpoint did not respond. */
  readonly httpStatus: number | null
  readonly outcome: DeliveryAttemptOutcome
  /** Why the endpoint could not be reached, where that is how it ended and is known. */
  readonly failureCause: PublicFailureCause | null
}

/** Which ended deliveries are sent once more: these, or those of a time to active endpoints. */
export type DeliverySelection =
  { readonly deliveryIds: readonly string[] } | { readonly since: Date | undefined; readonly until: Date | undefined }

/** How many deliveries one replay may name, and how many those of a time may be. */
export const REPLAY_LIMITS = { ids: 100, deliveries: 1_000 } as const

/** How long to wait after the first, second, … failed attempt; the last of them after each further one. */
export const RETRY_DELAYS_MS = [
  5 * SECOND_MS,
  30 * SECOND_MS,
  2 * MINUTE_MS,
  10 * MINUTE_MS,
  HOUR_MS,
  6 * HOUR_MS,
  24 * HOUR_MS,
] as const
/** The age at which a delivery gets its last attempt. If that fails, too, the delivery has FAILED. */
export const GIVE_UP_AFTER_MS = 72 * HOUR_MS
/** Attempts that are made in any case, however old the delivery is when the first of them can be made. */
export const MIN_ATTEMPTS = 3
