/** The alert types that banks report. No type can carry free text, an amount, a place or a channel. */
export const BANK_ALERT_TYPES = [
  'ACCOUNT_TAKEOVER_SUSPECTED',
  'UNUSUAL_ACTIVITY_REVIEW',
  'POSSIBLE_SCAM_PRESSURE',
  'CARD_SECURITY',
  'ACCOUNT_RESTRICTED',
  'ACCOUNT_UNRESTRICTED',
  'CONTACT_DETAILS_CHANGED',
  'AUTHENTICATION_CHANGED',
  'NEW_SIGN_IN',
  'CREDENTIAL_RESET_REQUIRED',
  'ACCESS_TOKEN_REVOKED',
] as const
/** A type of alert that banks report. */
export type BankAlertType = (typeof BANK_ALERT_TYPES)[number]

/** The closed list of alert types: those of banks, and that of the gateway itself about a line that the customer has drawn. */
export const ALERT_TYPES = [...BANK_ALERT_TYPES, 'BALANCE_LINE_CROSSED'] as const
/** The type of an alert. */
export type AlertType = (typeof ALERT_TYPES)[number]

/** In which direction a balance crosses a line. */
export const BALANCE_LINE_DIRECTIONS = ['FALLING', 'RISING'] as const
/** One of `BALANCE_LINE_DIRECTIONS`. */
export type BalanceLineDirection = (typeof BALANCE_LINE_DIRECTIONS)[number]

/** How urgent an alert is, in ascending order. */
export const ALERT_SEVERITIES = ['INFO', 'WARNING', 'URGENT'] as const
/** The severity of an alert. */
export type AlertSeverity = (typeof ALERT_SEVERITIES)[number]

/** What the customer should do, always with their own bank and never in the chat. */
export const ALERT_ACTIONS = ['NONE', 'REVIEW_WITH_BANK', 'CALL_BANK', 'CONFIRM_ACTIVITY'] as const
/** One action that a bank requests of its customer. */
export type AlertAction = (typeof ALERT_ACTIONS)[number]

/** Whether `text` is an alert type that banks report. */
export const isBankAlertType = (text: unknown): text is BankAlertType =>
  (BANK_ALERT_TYPES as readonly unknown[]).includes(text)

/** The answers that a customer can give to an alert, from the least to the most protective. A later answer can only be more protective. */
export const ALERT_ANSWER_VALUES = ['IT_WAS_ME', 'CALL_ME', 'IT_WAS_NOT_ME', 'FREEZE_REQUESTED'] as const
/** One answer of a customer to an alert. */
export type AlertAnswer = (typeof ALERT_ANSWER_VALUES)[number]

/** The answers that make sense for each type. A bank can offer fewer, and no others. */
export const ANSWER_VALUES_BY_TYPE: Readonly<Record<AlertType, readonly AlertAnswer[]>> = {
  ACCOUNT_TAKEOVER_SUSPECTED: ['CALL_ME', 'IT_WAS_NOT_ME', 'FREEZE_REQUESTED'],
  UNUSUAL_ACTIVITY_REVIEW: ALERT_ANSWER_VALUES,
  // A customer under pressure would say that it was them.
  POSSIBLE_SCAM_PRESSURE: ['CALL_ME', 'FREEZE_REQUESTED'],
  CARD_SECURITY: ['CALL_ME', 'FREEZE_REQUESTED'],
  ACCOUNT_RESTRICTED: ['CALL_ME'],
  ACCOUNT_UNRESTRICTED: ['CALL_ME', 'IT_WAS_NOT_ME', 'FREEZE_REQUESTED'],
  CONTACT_DETAILS_CHANGED: ALERT_ANSWER_VALUES,
  AUTHENTICATION_CHANGED: ALERT_ANSWER_VALUES,
  NEW_SIGN_IN: ALERT_ANSWER_VALUES,
  CREDENTIAL_RESET_REQUIRED: ['CALL_ME'],
  ACCESS_TOKEN_REVOKED: [],
  BALANCE_LINE_CROSSED: [],
}
