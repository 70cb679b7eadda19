import type { AlertRequest } from './alert-request.ts'
import type { SandboxBank } from './bank.ts'
import { opaque, pushEvent, type PushResult } from './events.ts'

/** How long the customer can answer. */
const RESPONSE_SECONDS = 86_400

/**
 * Signs a security alert about an account and pushes it to all registered clients (RFC 8935). Like the events of real banks, it
 * contains data that the gateway must drop: the transaction that caused the alert.
 */
export async function pushAlert(
  bank: SandboxBank,
  { account: accountId, type, severity, requestedAction, deliveryMode }: AlertRequest,
): Promise<PushResult[]> {
  const account = bank.account(accountId)
  const lastEntry = account && bank.history(account).at(-1)
  return pushEvent(
    bank,
    opaque(accountId),
    {
      'urn:guichet:events:security-alert': {
        account: accountId,
        type,
        severity,
        requested_action: requestedAction,
        occurred_at: Math.floor(bank.now().getTime() / 1_000),
        respond_by: Math.floor(bank.now().getTime() / 1_000) + RESPONSE_SECONDS,
        reason: lastEntry?.note,
        suspicious: lastEntry && {
          merchant: lastEntry.merchant,
          amount: lastEntry.cents,
          at: lastEntry.at,
          mcc: lastEntry.categoryCode,
        },
      },
    },
    lastEntry?.merchant,
    { deliveryMode, onToken: (jti) => bank.fraudDesk.recordAlert(jti, accountId) },
  )
}

/** Reports to a client that a customer has seen the detail of an alert in the bank's app. */
export function pushDetailViewed(bank: SandboxBank, customer: string, alert: string): Promise<PushResult[]> {
  const account = bank.fraudDesk.accountOf(alert)
  // A bank without OpenID Connect has no id of the person that the client knows.
  const subject =
    bank.config.standard === 'BERLIN_GROUP' && account !== undefined ? opaque(account) : person(bank, customer)
  return pushEvent(bank, subject, { 'urn:guichet:events:alert-detail-viewed': { alert } })
}

/** Reports to a client what became of an answer. */
export const pushResponseProcessed = (
  bank: SandboxBank,
  clientId: string,
  response: string,
  outcome: 'CONFIRMED' | 'REFUSED',
): Promise<PushResult[]> =>
  pushEvent(
    bank,
    { format: 'opaque', id: response },
    { 'urn:guichet:events:alert-response-processed': { response, outcome } },
    undefined,
    { clientId },
  )

/** A person with the `sub` of the bank's sign-in (RFC 9493, 3.2.4). */
const person = (bank: SandboxBank, customer: string): Record<string, unknown> => ({
  format: 'iss_sub',
  iss: bank.origin,
  sub: customer,
})
