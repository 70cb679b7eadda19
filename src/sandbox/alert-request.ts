import type { DeliveryMode } from './events.ts'
import type { SandboxBankConfig } from './personas.ts'
import { json, HttpError } from './server.ts'

/** The alert types that Guichet accepts. Other types need the delivery mode `UNVALIDATED`. */
const ALERT_TYPES = [
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
]
const ACTIONS = ['NONE', 'REVIEW_WITH_BANK', 'CALL_BANK', 'CONFIRM_ACTIVITY']
const SEVERITIES = ['INFO', 'WARNING', 'URGENT']
/** All delivery modes. `UNVALIDATED` sends any type, as a faulty bank would. */
const DELIVERY_MODES: readonly DeliveryMode[] = [
  'VALID',
  'TAMPERED',
  'DUPLICATE',
  'QUEUED',
  'QUEUED_TAMPERED',
  'UNVALIDATED',
]

/** An alert that the sandbox bank is to push. */
export interface AlertRequest {
  readonly account: string
  readonly type: string
  readonly severity: string
  readonly requestedAction: string
  readonly deliveryMode: DeliveryMode
}

/** Parses an alert request. Throws an `HttpError` that lists the allowed values of every invalid member. */
export function parseAlertRequest(config: SandboxBankConfig, body: string): AlertRequest {
  const input = JSON.parse(body) as Partial<Record<'customer' | keyof AlertRequest, string>>
  const { severity = 'URGENT', requestedAction = 'REVIEW_WITH_BANK', deliveryMode = 'VALID', type = '' } = input
  const customers = [...new Set(config.accounts.flatMap(({ owners }) => owners))]
  const account = input.account ?? config.accounts.find(({ owners }) => owners.includes(input.customer ?? ''))?.id
  const allowedByField = {
    ...(!ALERT_TYPES.includes(type) && deliveryMode !== 'UNVALIDATED' && { type: ALERT_TYPES }),
    ...(!SEVERITIES.includes(severity) && { severity: SEVERITIES }),
    ...(!ACTIONS.includes(requestedAction) && { requestedAction: ACTIONS }),
    ...(!(DELIVERY_MODES as readonly string[]).includes(deliveryMode) && { deliveryMode: DELIVERY_MODES }),
    ...(account === undefined && { customer: customers }),
  }
  if (account === undefined || Object.keys(allowedByField).length > 0)
    throw new HttpError(json(400, { error: 'invalid_alert', allowed: allowedByField }))
  return { account, type, severity, requestedAction, deliveryMode: deliveryMode as DeliveryMode }
}
