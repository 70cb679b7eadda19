import { createHash, randomUUID } from 'node:crypto'
import { SignJWT, type CryptoKey } from 'jose'
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
  how?: How,
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
    how,
  )
}

/** Tells everybody who was introduced, in the standard's own way, that a customer ended a consent at the bank. */
export function pushConsentRevoked(bank: SandboxBank, consent: BankConsent, how?: How): Promise<Pushed[]> {
  switch (bank.facts.standard) {
    case 'OBIE':
      return push(
        bank,
        consent.id,
        {
          'urn:uk:org:openbanking:events:consent-authorization-revoked': {
            subject: {
              subject_type: 'http://openbanking.org.uk/rid_http://openbanking.org.uk/rty',
              'http://openbanking.org.uk/rid': consent.id,
              'http://openbanking.org.uk/rty': 'account-access-consent',
            },
          },
        },
        undefined,
        how,
      )
    case 'BERLIN_GROUP':
      if (consent.notifyAt !== undefined) return tellStatus(consent.notifyAt, consent)
      return push(bank, consent.id, {
        'https://schemas.openid.net/secevent/caep/event-type/session-revoked': { initiating_entity: 'user' },
      })
    case 'FDX':
      return notify(bank, consent)
    case 'CDR':
      return revokeArrangement(bank, consent)
  }
}

/** Berlin Group, Resource Status Notification Service: what state the consent is in, to the address that came with it. */
async function tellStatus(url: string, { id }: BankConsent): Promise<Pushed[]> {
  const headers = { 'content-type': 'application/json', 'x-request-id': randomUUID() }
  const body = JSON.stringify({ consentId: id, consentStatus: 'revokedByPsu' })
  return [{ jti: id, status: await deliver(url, headers, body) }]
}

/** How a token is told: as it should be (with any type at all), changed under its signature, twice, or kept until somebody asks. */
export type How = 'WELL' | 'UNCHECKED' | 'TAMPERED' | 'TWICE' | 'KEPT' | 'KEPT_TAMPERED'

async function push(
  bank: SandboxBank,
  subject: string,
  events: Record<string, unknown>,
  txn?: string,
  how: How = 'WELL',
): Promise<Pushed[]> {
  const all = await Promise.all(
    bank.clients().map(async ([id, client]) => {
      const jti = randomUUID()
      const token = await new SignJWT({ jti, events, sub_id: { format: 'opaque', id: subject }, ...(txn && { txn }) })
        .setProtectedHeader({ alg: 'ES256', kid: bank.keyId, typ: 'secevent+jwt' })
        .setIssuer(bank.origin)
        .setAudience(client.eventsUrl)
        .setIssuedAt(nowS(bank))
        .sign(await bank.signingKey())
      const sent = how === 'TAMPERED' || how === 'KEPT_TAMPERED' ? tampered(token) : token
      const keep = (status: number): Pushed => {
        if (bank.keepsEvents) bank.keepEvent(id, jti, sent)
        return { jti, status }
      }
      if (how === 'KEPT' || how === 'KEPT_TAMPERED') return [keep(0)]
      const once = async (): Promise<Pushed> => {
        const status = await deliver(client.eventsUrl, { 'content-type': 'application/secevent+jwt' }, sent)
        // Who could not be reached may ask for it later.
        return status === 0 || status >= 500 ? keep(status) : { jti, status }
      }
      return how === 'TWICE' ? [await once(), await once()] : [await once()]
    }),
  )
  return all.flat()
}

/** One letter of what was signed is another. */
function tampered(token: string): string {
  const [header, payload = '', signature] = token.split('.')
  const claims = JSON.parse(Buffer.from(payload, 'base64url').toString()) as Record<string, unknown>
  const changed = Buffer.from(JSON.stringify({ ...claims, jti: randomUUID() })).toString('base64url')
  return [header, changed, signature].join('.')
}

const nowS = (bank: SandboxBank): number => Math.floor(bank.now().getTime() / 1_000)

/** FDX 6.x, POST /notifications, under an HTTP message signature (RFC 9421, written out by hand). */
async function notify(bank: SandboxBank, consent: BankConsent): Promise<Pushed[]> {
  const key = (await bank.signingKey()) as CryptoKey
  return Promise.all(
    bank.clients().map(async ([, client]) => {
      const url = `${client.eventsUrl}/notifications`
      const jti = randomUUID()
      const body = JSON.stringify({
        notificationId: jti,
        type: 'CONSENT_REVOKED',
        sentOn: bank.now().toISOString(),
        category: 'CONSENT',
        severity: 'INFO',
        publisher: { name: bank.facts.name, type: 'DATA_PROVIDER' },
        notificationPayload: {
          id: consent.id,
          idType: 'CONSENT',
          customFields: { name: 'INITIATOR', value: 'INDIVIDUAL' },
        },
      })
      const digest = `sha-256=:${createHash('sha256').update(body).digest('base64')}:`
      const covered = `("@method" "@target-uri" "content-digest");created=${nowS(bank)};keyid="${bank.keyId}";alg="ecdsa-p256-sha256"`
      const base = [
        '"@method": POST',
        `"@target-uri": ${url}`,
        `"content-digest": ${digest}`,
        `"@signature-params": ${covered}`,
      ].join('\n')
      const signed = await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, key, Buffer.from(base))
      const headers = {
        'content-type': 'application/json',
        'content-digest': digest,
        'signature-input': `bank=${covered}`,
        signature: `bank=:${Buffer.from(signed).toString('base64')}:`,
        'x-fapi-interaction-id': randomUUID(),
      }
      return { jti, status: await deliver(url, headers, body) }
    }),
  )
}

/** CDR 1.36, the holder's call of the recipient's arrangement revocation endpoint. */
async function revokeArrangement(bank: SandboxBank, consent: BankConsent): Promise<Pushed[]> {
  return Promise.all(
    bank.clients().map(async ([, client]) => {
      const url = `${client.eventsUrl}/arrangements/revoke`
      const jti = randomUUID()
      const signed = async (claims: Record<string, unknown>): Promise<string> =>
        new SignJWT({ jti, ...claims })
          .setProtectedHeader({ alg: 'ES256', kid: bank.keyId })
          .setIssuer(bank.origin)
          .setSubject(bank.origin)
          .setAudience(url)
          .setIssuedAt(nowS(bank))
          .setExpirationTime(nowS(bank) + 120)
          .sign(await bank.signingKey())
      const headers = {
        'content-type': 'application/x-www-form-urlencoded',
        authorization: `Bearer ${await signed({})}`,
      }
      const body = new URLSearchParams({ cdr_arrangement_jwt: await signed({ cdr_arrangement_id: consent.id }) })
      return { jti, status: await deliver(url, headers, body.toString()) }
    }),
  )
}

const ATTEMPTS = 3

/** A bank tries again, with the same event, until it was acknowledged. */
async function deliver(url: string, headers: Record<string, string>, body: string): Promise<number> {
  let status = 0
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    const answer = await fetch(url, {
      method: 'POST',
      headers: { accept: 'application/json', ...headers },
      body,
      signal: AbortSignal.timeout(5_000),
    }).catch(() => undefined)
    await answer?.body?.cancel()
    status = answer?.status ?? 0
    if (status >= 200 && status < 500) return status
  }
  return status
}
