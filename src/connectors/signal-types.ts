import type { AlertAction, AlertSeverity, BankAlertType } from '../kernel/alert-vocabulary.ts'

/** What an event means for the customer. */
export interface AlertMeaning {
  readonly type: BankAlertType
  readonly severity: AlertSeverity
  readonly requestedAction: AlertAction
}

/** The meaning of one event type. */
export interface SignalMeaning extends AlertMeaning {
  /** A member of the event, and what its values change. Any other value changes nothing. */
  readonly variants?: {
    readonly member: string
    readonly values: Readonly<Record<string, Partial<AlertMeaning>>>
  }
}

const CAEP = 'https://schemas.openid.net/secevent/caep/event-type/'
const RISC = 'https://schemas.openid.net/secevent/risc/event-type/'
/** The bank ended a session (CAEP 1.0, 3.1). */
export const SESSION_REVOKED = `${CAEP}session-revoked`

const meaning = (
  type: BankAlertType,
  severity: AlertSeverity,
  requestedAction: AlertAction,
  variants?: SignalMeaning['variants'],
): SignalMeaning => ({ type, severity, requestedAction, ...(variants && { variants }) })

const signedIn = meaning('NEW_SIGN_IN', 'INFO', 'REVIEW_WITH_BANK')
const signedOut = meaning('ACCESS_TOKEN_REVOKED', 'INFO', 'NONE')
const contactChanged = meaning('CONTACT_DETAILS_CHANGED', 'WARNING', 'REVIEW_WITH_BANK')

/** The event types of CAEP 1.0 (3) and RISC 1.0 (2) that lead to alerts. Nothing else of these events is read. */
export const SIGNAL_TYPES: Readonly<Record<string, SignalMeaning>> = {
  [`${CAEP}risk-level-change`]: meaning('UNUSUAL_ACTIVITY_REVIEW', 'WARNING', 'REVIEW_WITH_BANK', {
    member: 'current_level',
    values: {
      LOW: { severity: 'INFO', requestedAction: 'NONE' },
      HIGH: { severity: 'URGENT', requestedAction: 'CONFIRM_ACTIVITY' },
    },
  }),
  [`${CAEP}credential-change`]: meaning('AUTHENTICATION_CHANGED', 'WARNING', 'REVIEW_WITH_BANK'),
  [SESSION_REVOKED]: signedOut,
  [`${CAEP}session-established`]: signedIn,
  [`${CAEP}session-presented`]: signedIn,
  [`${RISC}account-disabled`]: meaning('ACCOUNT_RESTRICTED', 'WARNING', 'REVIEW_WITH_BANK', {
    member: 'reason',
    values: { hijacking: { type: 'ACCOUNT_TAKEOVER_SUSPECTED', severity: 'URGENT', requestedAction: 'CALL_BANK' } },
  }),
  [`${RISC}account-enabled`]: meaning('ACCOUNT_UNRESTRICTED', 'INFO', 'NONE'),
  [`${RISC}account-credential-change-required`]: meaning('CREDENTIAL_RESET_REQUIRED', 'WARNING', 'REVIEW_WITH_BANK'),
  [`${RISC}credential-compromise`]: meaning('ACCOUNT_TAKEOVER_SUSPECTED', 'URGENT', 'CALL_BANK'),
  [`${RISC}identifier-changed`]: contactChanged,
  [`${RISC}recovery-information-changed`]: contactChanged,
  [`${RISC}sessions-revoked`]: signedOut,
}

/** The notification types of FDX that lead to alerts. */
export const FDX_ALERT_TYPES: Readonly<Record<string, AlertMeaning>> = {
  ACCOUNT_TAKEOVER: meaning('ACCOUNT_TAKEOVER_SUSPECTED', 'URGENT', 'CALL_BANK'),
  RISK: meaning('UNUSUAL_ACTIVITY_REVIEW', 'WARNING', 'REVIEW_WITH_BANK'),
  ADDRESS_CHANGED: contactChanged,
  PHONE_CHANGED: contactChanged,
  MFA_TARGET_CHANGED: meaning('AUTHENTICATION_CHANGED', 'WARNING', 'REVIEW_WITH_BANK'),
}

const OBIE = 'urn:uk:org:openbanking:events:'

/** Further event types that the standards define. They have no effect, and are counted by name. */
const UNUSED_TYPES: readonly string[] = [
  ...['assurance-level-change', 'device-compliance-change', 'token-claims-change'].map((name) => `${CAEP}${name}`),
  ...['account-purged', 'identifier-recycled', 'recovery-activated'].map((name) => `${RISC}${name}`),
  ...['opt-in', 'opt-out-initiated', 'opt-out-cancelled', 'opt-out-effective'].map((name) => `${RISC}${name}`),
  ...['resource-update', 'account-access-consent-linked-account-update', 'consent-access-revoked'].map(
    (name) => `${OBIE}${name}`,
  ),
  ...['BALANCE', 'CONSENT_EXPIRED', 'CONSENT_GRANTED', 'CONSENT_UPDATED', 'CUSTOM', 'PLANNED_OUTAGE', 'SERVICE'],
  ...['SUSPECTED_INCIDENT', 'TAN_ACTIVATED', 'TAN_CREATED', 'TAN_REVOKED', 'TAN_SUSPENDED'],
]
const STANDARD_TYPES: ReadonlySet<string> = new Set([
  ...Object.keys(SIGNAL_TYPES),
  ...Object.keys(FDX_ALERT_TYPES),
  ...UNUSED_TYPES,
])

/** The name of an event type, if a standard defines it. Any other name is text of the bank, and is undefined. */
export const nameOfStandardType = (type: string): string | undefined => (STANDARD_TYPES.has(type) ? type : undefined)

/** The meaning of an event of this type. Undefined if the type leads to no alert. */
export function meaningOfSignal(type: string, event: unknown): AlertMeaning | undefined {
  const known = Object.hasOwn(SIGNAL_TYPES, type) ? SIGNAL_TYPES[type] : undefined
  if (!known?.variants) return known
  const { variants, ...base } = known
  const value = (event as Readonly<Record<string, unknown>> | null)?.[variants.member]
  return { ...base, ...(typeof value === 'string' && Object.hasOwn(variants.values, value) && variants.values[value]) }
}
