import { randomUUID } from 'node:crypto'
import { SignJWT } from 'jose'
import type { BankConsent, SandboxBank } from './bank.ts'

export interface Pushed {
  readonly status: number
  readonly jti: string
}

/**
 * Signs a security alert about an account and pushes it to everybody who was introduced (RFC 8935). Like real events it
 * carries more than anybody asked for: the entry that made the bank suspicious.
 */
export async function pushAlert(
  bank: SandboxBank,
  accountId: string,
  type: string,
  severity: string,
): Promise<Pushed[]> {
  const account = bank.account(accountId)
  const last = account && bank.history(account).at(-1)
  return push(
    bank,
    accountId,
    {
      'urn:guichet:events:security-alert': {
        account: accountId,
        type,
        severity,
        ask: 'REVIEW_WITH_BANK',
        occurred_at: Math.floor(bank.now().getTime() / 1_000),
        reason: last?.note,
        suspicious: last && { merchant: last.merchant, amount: last.cents, at: last.at, mcc: last.categoryCode },
      },
    },
    last?.merchant,
  )
}

/** Tells everybody who was introduced that a customer ended a consent at the bank. */
export function pushConsentRevoked(bank: SandboxBank, consent: BankConsent): Promise<Pushed[]> {
  const event =
    bank.facts.standard === 'OBIE'
      ? {
          'urn:uk:org:openbanking:events:consent-authorization-revoked': {
            subject: {
              subject_type: 'http://openbanking.org.uk/rid_http://openbanking.org.uk/rty',
              'http://openbanking.org.uk/rid': consent.id,
              'http://openbanking.org.uk/rty': 'account-access-consent',
            },
          },
        }
      : { 'https://schemas.openid.net/secevent/caep/event-type/session-revoked': { initiating_entity: 'user' } }
  return push(bank, consent.id, event, undefined)
}

async function push(
  bank: SandboxBank,
  subject: string,
  events: Record<string, unknown>,
  txn: string | undefined,
): Promise<Pushed[]> {
  return Promise.all(
    bank.clients().map(async ([, client]) => {
      const jti = randomUUID()
      const token = await new SignJWT({ jti, events, sub_id: { format: 'opaque', id: subject }, ...(txn && { txn }) })
        .setProtectedHeader({ alg: 'ES256', kid: bank.keyId, typ: 'secevent+jwt' })
        .setIssuer(bank.origin)
        .setAudience(client.eventsUrl)
        .setIssuedAt(Math.floor(bank.now().getTime() / 1_000))
        .sign(await bank.signingKey())
      return { jti, status: await deliver(client.eventsUrl, token) }
    }),
  )
}

const ATTEMPTS = 3

/** A bank tries again, with the same token, until it was acknowledged. */
async function deliver(url: string, token: string): Promise<number> {
  let status = 0
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    const answer = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/secevent+jwt', accept: 'application/json' },
      body: token,
      signal: AbortSignal.timeout(5_000),
    }).catch(() => undefined)
    await answer?.body?.cancel()
    status = answer?.status ?? 0
    if (status === 202 || (status >= 400 && status < 500)) return status
  }
  return status
}
