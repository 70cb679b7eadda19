/** All that an alert can say. Free text, amounts, places and channels have no member here, so they cannot be passed on. */
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
/** One kind of alert. */
export type AlertType = (typeof ALERT_TYPES)[number]

/** How urgent an alert is, the least first. */
export const ALERT_SEVERITIES = ['INFO', 'WARNING', 'URGENT'] as const
/** One degree of urgency. */
export type AlertSeverity = (typeof ALERT_SEVERITIES)[number]

/** What the customer is asked to do, always with their own bank and never in the chat. */
export const ALERT_ACTIONS = ['NOTHING', 'REVIEW_WITH_BANK', 'CALL_BANK', 'CONFIRM_IT_WAS_YOU'] as const
/** One thing that a customer is asked to do. */
export type AlertAction = (typeof ALERT_ACTIONS)[number]

/** Whether a bank's word for an alert is one of ours. */
export const isAlertType = (text: unknown): text is AlertType => (ALERT_TYPES as readonly unknown[]).includes(text)
