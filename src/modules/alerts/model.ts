import type { AlertAction, AlertSeverity, AlertType, BalanceLineDirection } from '../../kernel/alert-vocabulary.ts'
import type { TimeRangeInput } from '../../kernel/time-range.ts'
import type { AlertSubject, Grant } from '../consents/index.ts'
import type { CustomerResponse } from './responses/model.ts'
import type { AlertQuestion } from './responses/question.ts'

/** A line of the customer that the balance of an account crossed. Where it lies is not part of the alert. */
export interface CrossedLine {
  readonly id: string
  readonly direction: BalanceLineDirection
}

/** What a bank reports to one of its customers, or the gateway about a line: values of closed lists and an hour, and no text. */
export interface Alert extends AlertSubject {
  readonly id: string
  readonly type: AlertType
  readonly severity: AlertSeverity
  readonly requestedAction: AlertAction
  /** Null unless it is about a line. */
  readonly balanceLine: CrossedLine | null
  /** The start of the hour in which it happened. */
  readonly occurredAt: Date
  /** When it was received. Consents that the customer gives later do not cover it. */
  readonly createdAt: Date
  /** From when on clients see it. */
  readonly shownAt: Date
  /** What the customer can answer. Null if nothing. */
  readonly question: AlertQuestion | null
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
  /** When the client marked it as read; null if it has not. */
  readonly readAt: Date | null
  /** The grant that opens the alert. */
  readonly grant: Grant
  /** The answers that the customer has given, through any client, oldest first. */
  readonly responses: readonly CustomerResponse[]
  /** Whether a consent with `alerts:respond` of the client, which need not be `grant`, covers it. */
  readonly canRespond: boolean
}

/** Selects alerts. All given conditions must hold. */
export interface AlertFilter {
  readonly types?: readonly string[] | null | undefined
  readonly severities?: readonly string[] | null | undefined
  /** The client's IDs of the accounts. */
  readonly accountIds?: readonly string[] | null | undefined
  readonly occurred?: TimeRangeInput | null | undefined
  /** Whether the client has marked it as read. */
  readonly read?: boolean | null | undefined
}
