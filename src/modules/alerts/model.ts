import type { AlertAction, AlertSeverity, AlertType } from '../../kernel/alert-vocabulary.ts'
import type { Grant } from '../consents/index.ts'

/** Something that a customer should know about an account: closed words and an hour, nothing else. */
export interface Alert {
  readonly id: string
  readonly accountId: string
  readonly type: AlertType
  readonly severity: AlertSeverity
  readonly ask: AlertAction
  /** The start of the hour that it happened in. */
  readonly occurredAt: Date
}

/** An alert as one client sees it under a grant. */
export interface AlertView {
  /** The client's own name for it; another client's differs. */
  readonly publicId: string
  readonly publicAccountId: string
  readonly bankId: string
  readonly alert: Alert
  /** The start of the hour that it happened in, ISO 8601. */
  readonly occurredAt: string
  /** The grant that opens it. */
  readonly grant: Grant
}

/** Which alerts are asked for; each part that is given must fit. */
export interface AlertFilter {
  readonly types?: readonly string[] | null | undefined
  readonly severities?: readonly string[] | null | undefined
  /** The client's own names of accounts. */
  readonly accountIds?: readonly string[] | null | undefined
  readonly since?: string | null | undefined
}
