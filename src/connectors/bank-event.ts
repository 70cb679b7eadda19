import type { JSONWebKeySet } from 'jose'
import type { AlertAction, AlertSeverity, AlertType } from '../kernel/alert-vocabulary.ts'
import type { Clock } from '../kernel/clock.ts'
import type { EventSender } from './event-rules.ts'

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
}

/**
 * One delivery of a bank, reduced to the domain's vocabulary. Its source is verified, except for CONSENT_CHECK_REQUIRED. `jti`
 * identifies the delivery with all of its events, so that it is processed once and as a whole.
 */
export interface BankEvent {
  readonly issuer: string
  readonly jti: string
  /** At least one. */
  readonly payloads: readonly EventPayload[]
}

/** What a bank reports. */
export type EventPayload =
  | {
      readonly kind: 'ALERT'
      /** The refs of all accounts that the id in the event can refer to. */
      readonly accountRefs: readonly string[]
      readonly type: AlertType
      readonly severity: AlertSeverity
      readonly requestedAction: AlertAction
      readonly occurredAt: Date
    }
  | { readonly kind: 'CONSENT_REVOKED'; readonly consentRef: string }
  /** An unauthenticated notice that the consent may have ended: the gateway must check with the bank. */
  | { readonly kind: 'CONSENT_CHECK_REQUIRED'; readonly consentRef: string }
  /** Valid, but of a type that Guichet does not support. */
  | { readonly kind: 'IGNORED' }

/** The dependencies of reading events. */
export interface EventTools {
  readonly clock: Clock
  readonly keys: EventKeys
}

/** The keys with which one bank signs its events. */
export interface EventKeys {
  /**
   * The keys in which to look for the key with this id. Throws `EVENT_REJECTED` if the bank has no such key, and `BANK_UNAVAILABLE`
   * if the published keys cannot be had now.
   */
  find(sender: EventSender, keyId: string | undefined): Promise<JSONWebKeySet>
}
