import type { How } from './events.ts'
import type { SandboxBankFacts } from './people.ts'
import { json, Refusal } from './server.ts'

/** The alerts that platforms and banks agreed on; a bank of ours sends no other by accident. */
const TYPES = [
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
const HOW: readonly How[] = ['WELL', 'TAMPERED', 'TWICE', 'KEPT', 'KEPT_TAMPERED', 'UNCHECKED']

/** What a bank is asked to push. */
export interface AlertOrder {
  readonly account: string
  readonly type: string
  readonly severity: string
  readonly how: How
}

/** Reads an order. Throws a `Refusal` with everything that it cannot be, and what it can be instead, by member. */
export function alertOrder(facts: SandboxBankFacts, body: string): AlertOrder {
  const given = JSON.parse(body) as Partial<Record<'customer' | keyof AlertOrder, string>>
  const { severity = 'WARNING', how = 'WELL', type = '' } = given
  const customers = [...new Set(facts.accounts.flatMap(({ owners }) => owners))]
  const account = given.account ?? facts.accounts.find(({ owners }) => owners.includes(given.customer ?? ''))?.id
  const faults = {
    ...(!TYPES.includes(type) && how !== 'UNCHECKED' && { type: TYPES }),
    ...(!SEVERITIES.includes(severity) && { severity: SEVERITIES }),
    ...(!(HOW as readonly string[]).includes(how) && { how: HOW }),
    ...(account === undefined && { customer: customers }),
  }
  if (account === undefined || Object.keys(faults).length > 0)
    throw new Refusal(json(400, { error: 'invalid_alert', allowed: faults }))
  return { account, type, severity, how: how as How }
}
