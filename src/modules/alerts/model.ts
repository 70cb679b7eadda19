import type { AlertAction, AlertSeverity, AlertType } from '../../kernel/alert-vocabulary.ts'
import type { Grant } from '../consents/index.ts'

/** Something that a customer should know: values of closed lists and an hour, nothing else. */
export interface Alert {
  readonly id: string
  /** `null` if it is about no single account. Nobody is shown such an alert yet: an alert is shown by the consents of its account. */
  readonly accountId: string | null
  readonly type: AlertType
  readonly severity: AlertSeverity
  readonly requestedAction: AlertAction
  /** The start of the hour that it happened in. */
  readonly occurredAt: Date
}

/** An alert as one client sees it under a grant. */
export interface AlertView {
  /** The client's own name for it; another client's differs. */
  readonly publicId: string
  readonly publicAccountId: string | null
  readonly bankId: string
  readonly alert: Alert
  /** The start of the hour that it happened in, ISO 8601. */
  readonly occurredAt: string
  /** The grant that opens it. */
  readonly grant: Grant
}

/** Which alerts are listed. Each condition that is given must hold. */
export interface AlertFilter {
  readonly types?: readonly string[] | null | undefined
  readonly severities?: readonly string[] | null | undefined
  /** The client's own names of accounts. */
  readonly accountIds?: readonly string[] | null | undefined
  /** ISO 8601; `since` is inclusive, `until` exclusive. */
  readonly occurred?:
    { readonly since?: string | null | undefined; readonly until?: string | null | undefined } | null | undefined
}
