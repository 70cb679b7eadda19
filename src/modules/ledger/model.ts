import type { Purpose } from '../../kernel/scopes.ts'

/** What can be written in the ledger; each says what happened, and none says what was seen. */
export type LedgerAction =
  | 'READ_ACCOUNTS'
  | 'READ_BALANCES'
  | 'READ_BALANCE_BAND'
  | 'READ_BALANCE_AT_LEAST'
  | 'READ_ALERTS'
  | 'CONSENT_REQUESTED'
  | 'CONSENT_GRANTED'
  | 'CONSENT_REJECTED'
  | 'CONSENT_REVOKED'
  | 'CONSENT_EXPIRED'
  | 'ALERT_RECEIVED'
  | 'ALERT_DELIVERED'
  | 'ORGANIZATION_REGISTERED'
  | 'ORGANIZATION_CHANGED'
  | 'CLIENT_REGISTERED'
  | 'CLIENT_SUSPENDED'
  | 'CLIENT_RESUMED'
  | 'CLIENT_RETIRED'
  | 'CLIENT_CHANGED'
  | 'OPERATIONS_REGISTERED'
  | 'ADMIN_ENROLMENT_OPENED'
  | 'CONNECTOR_REGISTERED'
  | 'GATEWAY_REGISTERED_AT_BANK'
  | 'CONNECTOR_CERTIFYING'
  | 'CONNECTOR_CERTIFIED'
  | 'CERTIFICATION_NOT_PASSED'
  | 'CONNECTOR_ACTIVATED'
  | 'CONNECTOR_SUSPENDED'
  | 'CONNECTOR_RETIRED'
  | 'NEW_CONSENTS_DISABLED'
  | 'NEW_CONSENTS_ENABLED'
  | 'OUTAGE_ANNOUNCED'
  | 'OUTAGE_ENDED'
  | 'WEBHOOK_ENDPOINT_REGISTERED'
  | 'WEBHOOK_ENDPOINT_CHANGED'
  | 'DELIVERY_REPLAYED'

/** One field of what an administrator changed: its values before and after, none where there was nothing. Never a secret. */
export interface Change {
  readonly field: string
  readonly before: readonly string[]
  readonly after: readonly string[]
}

/** One line: who read or changed what, when and why. Every value is an id or a word from a closed list. */
export interface LedgerEntry {
  readonly action: LedgerAction
  readonly requestId?: string
  readonly clientId?: string
  readonly customerId?: string
  readonly consentId?: string
  /** Every account that the entry is about. */
  readonly accountIds?: readonly string[]
  /** The id of what else it is about, such as a connector or an alert. */
  readonly subjectId?: string
  /** A word from a closed list that tells the action apart further, such as a revoker or a level of detail. */
  readonly detail?: string
  readonly purposes?: readonly Purpose[]
  /** What an administrator or a partner changed. */
  readonly changes?: readonly Change[]
}

/** A read of one account. */
export interface ReadRecord {
  readonly action: LedgerAction
  readonly access: {
    readonly accountId: string
    readonly grant: {
      readonly clientId: string
      readonly customerId: string
      readonly consentId: string
      readonly purposes: readonly Purpose[]
    }
  }
  /** The level of detail, such as a kind of balance. */
  readonly detail?: string
  readonly subjectId?: string
}
