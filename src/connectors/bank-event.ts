import type { JSONWebKeySet } from 'jose'
import type { AlertAction, AlertAnswer, AlertSeverity, BankAlertType } from '../kernel/alert-vocabulary.ts'
import type { ClientCertificate } from '../kernel/client-certificate.ts'
import type { Clock } from '../kernel/clock.ts'
import type { EventSender } from './event-rules.ts'
import type { EventStreamStatus } from './stream-status.ts'

/** A request to a bank's event endpoint, not verified yet. */
export interface ReceivedEvent {
  /** The media type in lower case, without parameters. */
  readonly contentType: string
  /** Header names are in lower case. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  /** The URL to which the event was sent. */
  readonly url: string
  /** The bank's event URL as registered: the audience of its tokens, unless the registration states another. */
  readonly audience: string
  /** Whether the gateway fetched it from a queue of the bank, where it can have waited. */
  readonly isPolled?: boolean
  /** The certificate of the TLS connection, as a trusted proxy states it. */
  readonly clientCertificate?: ClientCertificate | undefined
}

/**
 * One delivery of a bank, reduced to the domain's vocabulary. Its source is verified, except for CONSENT_CHECK_REQUIRED. `jti`
 * identifies the delivery with all of its events, so that it is processed once and as a whole.
 */
export interface BankEvent {
  readonly issuer: string
  readonly jti: string
  /** Empty only if there are `streamEvents`. */
  readonly payloads: readonly EventPayload[]
  /** What the delivery says about the stream that it came through. */
  readonly streamEvents?: readonly StreamEvent[]
}

/** An event about the stream of events itself (Shared Signals Framework 1.0, 8.1.4 and 8.1.5). */
export type StreamEvent =
  /** The state of the request for the verification. Undefined if the bank sends the event without a request. */
  | { readonly kind: 'VERIFICATION'; readonly state: string | undefined }
  | { readonly kind: 'UPDATED'; readonly status: Exclude<EventStreamStatus, 'UNKNOWN' | 'NOT_FOUND'> }

/** What a bank reports. */
export type EventPayload =
  | {
      readonly kind: 'ALERT'
      readonly subject: AlertSubject
      readonly type: BankAlertType
      readonly severity: AlertSeverity
      readonly requestedAction: AlertAction
      readonly occurredAt: Date
      /** What the bank asks the customer. Absent if the event does not say; then it is as the registration says. */
      readonly question?: StatedQuestion | undefined
    }
  | { readonly kind: 'CONSENT_REVOKED'; readonly consentRef: string }
  /** An unauthenticated notice that the consent may have ended: the gateway must check with the bank. */
  | { readonly kind: 'CONSENT_CHECK_REQUIRED'; readonly consentRef: string }
  /**
   * A customer has seen the detail of the alert of this event in the bank's own app: the viewer, which is an account if the bank
   * names nobody. Undefined if the bank does not say who, or in no form that the gateway knows.
   */
  | { readonly kind: 'ALERT_DETAIL_VIEWED'; readonly eventId: string; readonly viewer: AlertSubject | undefined }
  /** The bank has acted on a customer's answer, or will not. */
  | { readonly kind: 'ALERT_RESPONSE_PROCESSED'; readonly responseId: string; readonly isConfirmed: boolean }
  /** Valid, but without effect. */
  | {
      readonly kind: 'IGNORED'
      readonly reason: IgnoredReason
      /** The type, if a standard defines it. */
      readonly eventType?: string | undefined
    }

/** What an event says about the responses to its alert. */
export interface StatedQuestion {
  /** The responses that the bank takes. Undefined: all that its registration names. */
  readonly options: readonly AlertAnswer[] | undefined
  /** Until when the bank takes them. */
  readonly respondBy: Date | undefined
}

/** What an alert is about. */
export type AlertSubject =
  /** One account. `refs` are those of all accounts that the id in the event can refer to. */
  | { readonly kind: 'ACCOUNT'; readonly refs: readonly string[] }
  /** A person. One of `customerRefs` is the bank's id of the person, as in `BankAccess.customerRef`, if the gateway knows them. */
  | { readonly kind: 'CUSTOMER'; readonly customerRefs: readonly string[] }

/**
 * Why an event has no effect. UNKNOWN_TYPE: Guichet supports no such type. UNKNOWN_SUBJECT: it is about nothing that the gateway can
 * know, such as an email address. NOT_CONCERNED: it is about a resource of another API, or reports no end.
 */
export type IgnoredReason = 'UNKNOWN_TYPE' | 'UNKNOWN_SUBJECT' | 'NOT_CONCERNED'

/** The dependencies of reading events. */
export interface EventTools {
  readonly clock: Clock
  readonly keys: EventKeys
}

/** The keys with which one bank signs its events. */
export interface EventKeys {
  /**
   * The keys in which to look for the key with this id. The same object as before while the keys are unchanged, so that they can be
   * imported once. Throws `EVENT_REJECTED` if the bank has no such key, and `BANK_UNAVAILABLE` if the published keys cannot be had
   * now.
   */
  find(sender: EventSender, keyId: string | undefined): Promise<JSONWebKeySet>
}
