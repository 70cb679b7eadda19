import type { AlertAsk, AlertSeverity, AlertType } from '../../kernel/alert-vocabulary.ts'

/** Something that a customer should know about an account: closed words and an hour, nothing else. */
export interface Alert {
  readonly id: string
  readonly accountId: string
  readonly type: AlertType
  readonly severity: AlertSeverity
  readonly ask: AlertAsk
  /** The start of the hour that it happened in. */
  readonly occurredAt: Date
}

/** An alert as one client sees it under a grant. */
export interface OpenedAlert {
  /** The client's own name for it; another client's differs. */
  readonly publicId: string
  readonly publicAccountId: string
  readonly bankId: string
  readonly alert: Alert
}
