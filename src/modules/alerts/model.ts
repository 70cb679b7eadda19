import type { AlertAction, AlertSeverity, AlertType } from '../../kernel/alert-vocabulary.ts'
import type { TimeRangeInput } from '../../kernel/time-range.ts'
import type { Grant } from '../consents/index.ts'

/** What a bank reports about an account: values of closed lists and an hour, and no text. */
export interface Alert {
  readonly id: string
  /** Null if it is about no single account. Such an alert is shown to nobody, because consents are for accounts. */
  readonly accountId: string | null
  readonly type: AlertType
  readonly severity: AlertSeverity
  readonly requestedAction: AlertAction
  /** The start of the hour in which it happened. */
  readonly occurredAt: Date
}

/** An alert as one client sees it under a grant. */
export interface AlertView {
  /** The client's ID for the alert; each client has a different one. */
  readonly publicId: string
  readonly publicAccountId: string | null
  readonly bankId: string
  readonly alert: Alert
  /** `alert.occurredAt` in ISO 8601. */
  readonly occurredAt: string
  /** The grant that opens the alert. */
  readonly grant: Grant
}

/** Selects alerts. All given conditions must hold. */
export interface AlertFilter {
  readonly types?: readonly string[] | null | undefined
  readonly severities?: readonly string[] | null | undefined
  /** The client's IDs of the accounts. */
  readonly accountIds?: readonly string[] | null | undefined
  readonly occurred?: TimeRangeInput | null | undefined
}
