import type { Purpose } from '../../kernel/scopes.ts'

/** The actions in the ledger. They state what happened, never which data was read. */
export type LedgerAction =
  | 'READ_ACCOUNTS'
  | 'READ_BALANCES'
  | 'READ_BALANCE_BAND'
  | 'READ_BALANCE_AT_LEAST'
  | 'READ_ALERTS'
  | 'BALANCE_LINE_CREATED'
  | 'BALANCE_LINE_DELETED'
  | 'BALANCE_LINE_CHECKED'
  | 'CONSENT_REQUESTED'
  | 'CONSENT_GRANTED'
  | 'CONSENT_REJECTED'
  | 'CONSENT_REVOKED'
  | 'CONSENT_EXPIRED'
  | 'CONSENT_SUSPENDED'
  | 'CONSENT_RESUMED'
  | 'ALERT_RECEIVED'
  | 'ALERT_DELIVERED'
  | 'ALERT_ANSWERED'
  | 'ORGANIZATION_REGISTERED'
  | 'ORGANIZATION_CHANGED'
  | 'CLIENT_REGISTERED'
  | 'CLIENT_SUSPENDED'
  | 'CLIENT_RESUMED'
  | 'CLIENT_RETIRED'
  | 'CLIENT_CHANGED'
  | 'OPERATIONS_REGISTERED'
  | 'ADMIN_ENROLLMENT_OPENED'
  | 'CONNECTOR_REGISTERED'
  | 'GATEWAY_REGISTERED_AT_BANK'
  | 'CERTIFICATE_REQUESTED'
  | 'CERTIFICATE_UPLOADED'
  | 'CERTIFICATE_RETIRED'
  | 'CLIENT_SECRET_CHANGED'
  | 'CERTIFICATION_REQUESTED'
  | 'CONNECTOR_CERTIFIED'
  | 'CERTIFICATION_FAILED'
  | 'CONNECTOR_CHECKED'
  | 'CONNECTOR_ACTIVATED'
  | 'CONNECTOR_SUSPENDED'
  | 'CONNECTOR_RETIRED'
  | 'NEW_CONSENTS_DISABLED'
  | 'NEW_CONSENTS_ENABLED'
  | 'PLATFORM_ACCESS_CHANGED'
  | 'OUTAGE_ANNOUNCED'
  | 'OUTAGE_ENDED'
  | 'WEBHOOK_ENDPOINT_REGISTERED'
  | 'WEBHOOK_ENDPOINT_CHANGED'
  | 'WEBHOOK_ENDPOINT_DISABLED'
  | 'WEBHOOK_SECRET_ROTATED'
  | 'DELIVERY_REPLAYED'
  | 'TEST_EVENT_SENT'

/** A changed field with its values before and after; empty if there were none. Never contains secrets. */
export interface Change {
  readonly field: string
  readonly before: readonly string[]
  readonly after: readonly string[]
}

/** One entry: who read or changed what, when and why. All values are IDs or enum values. */
export interface LedgerEntry {
  readonly action: LedgerAction
  readonly requestId?: string
  readonly clientId?: string
  readonly customerId?: string
  readonly consentId?: string
  /** The affected accounts. */
  readonly accountIds?: readonly string[]
  /** The ID of another affected object, such as a connector or an alert. */
  readonly subjectId?: string
  /** An enum value that specifies the action, such as who ended a consent or a balance type. */
  readonly detail?: string
  readonly purposes?: readonly Purpose[]
  /** The changes by an admin or a partner. */
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
  /** Specifies the read, such as the balance type. */
  readonly detail?: string
  readonly subjectId?: string
}
