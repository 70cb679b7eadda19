/** The closed list of alert types. No type can carry free text, an amount, a place or a channel. */
export const ALERT_TYPES = [
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
] as const
/** The type of an alert. */
export type AlertType = (typeof ALERT_TYPES)[number]

/** How urgent an alert is, in ascending order. */
export const ALERT_SEVERITIES = ['INFO', 'WARNING', 'URGENT'] as const
/** The severity of an alert. */
export type AlertSeverity = (typeof ALERT_SEVERITIES)[number]

/** What the customer should do, always with their own bank and never in the chat. */
export const ALERT_ACTIONS = ['NONE', 'REVIEW_WITH_BANK', 'CALL_BANK', 'CONFIRM_ACTIVITY'] as const
/** One action that a bank requests of its customer. */
export type AlertAction = (typeof ALERT_ACTIONS)[number]

/** Whether `text` is an alert type. */
export const isAlertType = (text: unknown): text is AlertType => (ALERT_TYPES as readonly unknown[]).includes(text)
