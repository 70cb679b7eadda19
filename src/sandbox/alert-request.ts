import type { DeliveryMode } from './events.ts'
import type { SandboxBankConfig } from './personas.ts'
import { json, HttpError } from './server.ts'

/** The alerts that platforms and banks agreed on; a bank of ours sends no other by accident. */
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
]
const SEVERITIES = ['INFO', 'WARNING', 'URGENT']
/** As `How` has them; `UNCHECKED` sends whatever type it is given, as a bank with a fault would. */
const DELIVERY_MODES: readonly DeliveryMode[] = [
  'VALID',
  'TAMPERED',
  'DUPLICATE',
  'QUEUED',
  'QUEUED_TAMPERED',
  'UNVALIDATED',
]

/** What a bank is asked to push. */
export interface AlertRequest {
  readonly account: string
  readonly type: string
  readonly severity: string
  readonly deliveryMode: DeliveryMode
}

/** Reads an order. Throws a `Refusal` with everything that it cannot be, and what it can be instead, by member. */
export function parseAlertRequest(config: SandboxBankConfig, body: string): AlertRequest {
  const input = JSON.parse(body) as Partial<Record<'customer' | keyof AlertRequest, string>>
  const { severity = 'WARNING', deliveryMode = 'VALID', type = '' } = input
  const customers = [...new Set(config.accounts.flatMap(({ owners }) => owners))]
  const account = input.account ?? config.accounts.find(({ owners }) => owners.includes(input.customer ?? ''))?.id
  const faults = {
    ...(!ALERT_TYPES.includes(type) && deliveryMode !== 'UNVALIDATED' && { type: ALERT_TYPES }),
    ...(!SEVERITIES.includes(severity) && { severity: SEVERITIES }),
    ...(!(DELIVERY_MODES as readonly string[]).includes(deliveryMode) && { deliveryMode: DELIVERY_MODES }),
    ...(account === undefined && { customer: customers }),
  }
  if (account === undefined || Object.keys(faults).length > 0)
    throw new HttpError(json(400, { error: 'invalid_alert', allowed: faults }))
  return { account, type, severity, deliveryMode: deliveryMode as DeliveryMode }
}
