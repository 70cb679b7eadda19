import type { AlertAnswer } from '../../../kernel/alert-vocabulary.ts'

/**
 * What became of an answer. PENDING: it is being sent to the bank. SENT: the bank has accepted it. CONFIRMED: the bank has acted on it.
 * FAILED: the bank will not. EXPIRED: the bank could not be reached in time.
 */
export type AlertResponseStatus = 'PENDING' | 'SENT' | 'CONFIRMED' | 'FAILED' | 'EXPIRED'

/** An answer of a customer to an alert. */
export interface CustomerResponse {
  readonly id: string
  readonly alertId: string
  /** Through which the customer answered. */
  readonly clientId: string
  readonly answer: AlertAnswer
  readonly status: AlertResponseStatus
  readonly createdAt: Date
}
