import { createHash, randomUUID } from 'node:crypto'
import { SignJWT, type CryptoKey } from 'jose'
import type { BankConsent, EventStreamState, SandboxBank } from './bank.ts'

/** The result of one push. */
export interface PushResult {
  /** The HTTP status of the response; 0 if there was none. */
  readonly status: number
  readonly jti: string
}

/** Sends an event of any type, such as of CAEP or RISC. It has texts about a purchase, which the gateway must drop. */
export function pushSignal(
  bank: SandboxBank,
  subject: Record<string, unknown>,
  type: string,
  event: Record<string, unknown> = {},
  deliveryMode?: DeliveryMode,
): Promise<PushResult[]> {
  const lastEntry = bank.history(bank.config.accounts[0]!).at(-1)
  const texts = { reason_user: { en: lastEntry?.note }, reason_admin: { en: `at ${lastEntry?.merchant ?? ''}` } }
  return pushEvent(bank, subject, { [type]: { ...texts, ...event } }, lastEntry?.merchant, { deliveryMode })
}

/** Sends the event that shows that a client's stream works. */
export async function pushVerification(
  bank: SandboxBank,
  clientId: string,
  streamId: string,
  state: string | undefined,
): Promise<void> {
  const { eventsUrl } = bank.client(clientId)!
  const events = { [`${SSF}verification`]: { ...(state !== undefined && { state }) } }
  const token = await signToken(bank, eventsUrl, randomUUID(), { events, sub_id: opaque(streamId) })
  await deliver(eventsUrl, { 'content-type': 'application/secevent+jwt' }, token)
}

/** Changes the status of every client's stream, and informs the client before events stop, or once they continue. */
export async function changeStreams(bank: SandboxBank, status: EventStreamState['status']): Promise<PushResult[]> {
  const results = await Promise.all(
    bank.clients().map(async ([id, { eventsUrl }]) => {
      const stream = bank.eventStream(id)
      if (!stream) return []
      const jti = randomUUID()
      const events = {
        [`${SSF}stream-updated`]: { status, reason: bank.history(bank.config.accounts[0]!).at(-1)?.note },
      }
      const token = await signToken(bank, eventsUrl, jti, { events, sub_id: opaque(stream.id) })
      bank.setEventStreamStatus(id, status)
      return [{ jti, status: await deliver(eventsUrl, { 'content-type': 'application/secevent+jwt' }, token) }]
    }),
  )
  return results.flat()
}

const SSF = 'https://schemas.openid.net/secevent/ssf/event-type/'

/** A subject with an id of the bank (RFC 9493, 3.2.5). */
export const opaque = (id: string): Record<string, unknown> => ({ format: 'opaque', id })

/** Notifies all registered clients, as the bank's standard defines it, that a customer revoked a consent at the bank. */
export function pushConsentRevoked(
  bank: SandboxBank,
  consent: BankConsent,
  deliveryMode?: DeliveryMode,
): Promise<PushResult[]> {
  switch (bank.config.standard) {
    case 'OBIE':
      return pushEvent(
        bank,
        opaque(consent.id),
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
        { deliveryMode },
      )
    case 'BERLIN_GROUP':
      if (consent.notificationUri !== undefined) return sendStatusNotification(consent.notificationUri, consent)
      return pushEvent(bank, opaque(consent.id), {
        'https://schemas.openid.net/secevent/caep/event-type/session-revoked': { initiating_entity: 'user' },
      })
    case 'FDX':
      return sendFdxNotification(bank, consent)
    case 'CDR':
      return revokeArrangement(bank, consent)
  }
}

/** Berlin Group Resource Status Notification Service: sends the consent's status to its notification URI. */
async function sendStatusNotification(url: string, { id }: BankConsent): Promise<PushResult[]> {
  const headers = { 'content-type': 'application/json', 'x-request-id': randomUUID() }
  const body = JSON.stringify({ consentId: id, consentStatus: 'revokedByPsu' })
  return [{ jti: id, status: await deliver(url, headers, body) }]
}

/**
 * How a token is delivered: valid, valid with any type (UNVALIDATED), with a payload that does not match its signature
 * (TAMPERED), twice (DUPLICATE), or queued for polling (QUEUED, QUEUED_TAMPERED).
 */
export type DeliveryMode = 'VALID' | 'UNVALIDATED' | 'TAMPERED' | 'DUPLICATE' | 'QUEUED' | 'QUEUED_TAMPERED'

/** How an event is pushed. */
export interface PushOptions {
  readonly deliveryMode?: DeliveryMode | undefined
  /** The only receiver; all clients if absent. */
  readonly clientId?: string
  /** Called with the id of each client's token before it is sent. */
  readonly onToken?: (jti: string) => void
}

/** Signs an event and pushes it to all registered clients (RFC 8935), or to one. `txn` is text about a purchase. */
export async function pushEvent(
  bank: SandboxBank,
  subject: Record<string, unknown>,
  events: Record<string, unknown>,
  txn?: string,
  { deliveryMode = 'VALID', clientId, onToken }: PushOptions = {},
): Promise<PushResult[]> {
  const clients = bank.clients().filter(([id]) => clientId === undefined || id === clientId)
  const results = await Promise.all(
    clients.map(async ([id, client]) => {
      const jti = randomUUID()
      onToken?.(jti)
      const token = await signToken(bank, client.eventsUrl, jti, { events, sub_id: subject, ...(txn && { txn }) })
      const payload = deliveryMode === 'TAMPERED' || deliveryMode === 'QUEUED_TAMPERED' ? tamper(token) : token
      const queue = (status: number): PushResult => {
        if (bank.queuesEvents) bank.queueEvent(id, jti, payload)
        return { jti, status }
      }
      const { status: streamStatus } = bank.eventStream(id) ?? {}
      if (streamStatus === 'disabled') return [{ jti, status: 0 }]
      if (deliveryMode === 'QUEUED' || deliveryMode === 'QUEUED_TAMPERED' || streamStatus === 'paused')
        return [queue(0)]
      const send = async (): Promise<PushResult> => {
        const status = await deliver(client.eventsUrl, { 'content-type': 'application/secevent+jwt' }, payload)
        // A client that could not be reached can poll for the event later.
        return status === 0 || status >= 500 ? queue(status) : { jti, status }
      }
      return deliveryMode === 'DUPLICATE' ? [await send(), await send()] : [await send()]
    }),
  )
  return results.flat()
}

const signToken = async (
  bank: SandboxBank,
  audience: string,
  jti: string,
  claims: Record<string, unknown>,
): Promise<string> =>
  new SignJWT({ jti, ...claims })
    .setProtectedHeader({ alg: 'ES256', kid: bank.keyId, typ: 'secevent+jwt' })
    .setIssuer(bank.origin)
    .setAudience(audience)
    .setIssuedAt(nowSeconds(bank))
    .sign(await bank.signingKey())

/** Changes the payload of a token without signing it again. */
function tamper(token: string): string {
  const [header, payload = '', signature] = token.split('.')
  const claims = JSON.parse(Buffer.from(payload, 'base64url').toString()) as Record<string, unknown>
  const changedPayload = Buffer.from(JSON.stringify({ ...claims, jti: randomUUID() })).toString('base64url')
  return [header, changedPayload, signature].join('.')
}

const nowSeconds = (bank: SandboxBank): number => Math.floor(bank.now().getTime() / 1_000)

/** FDX 6.x, POST /notifications, with an HTTP message signature (RFC 9421) that is built here by hand. */
async function sendFdxNotification(bank: SandboxBank, consent: BankConsent): Promise<PushResult[]> {
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
        publisher: { name: bank.config.name, type: 'DATA_PROVIDER' },
        notificationPayload: {
          id: consent.id,
          idType: 'CONSENT',
          customFields: { name: 'INITIATOR', value: 'INDIVIDUAL' },
        },
      })
      const digest = `sha-256=:${createHash('sha256').update(body).digest('base64')}:`
      const signatureParams = `("@method" "@target-uri" "content-digest");created=${nowSeconds(bank)};keyid="${bank.keyId}";alg="ecdsa-p256-sha256"`
      const signatureBase = [
        '"@method": POST',
        `"@target-uri": ${url}`,
        `"content-digest": ${digest}`,
        `"@signature-params": ${signatureParams}`,
      ].join('\n')
      const signature = await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, key, Buffer.from(signatureBase))
      const headers = {
        'content-type': 'application/json',
        'content-digest': digest,
        'signature-input': `bank=${signatureParams}`,
        signature: `bank=:${Buffer.from(signature).toString('base64')}:`,
        'x-fapi-interaction-id': randomUUID(),
      }
      return { jti, status: await deliver(url, headers, body) }
    }),
  )
}

/** CDR 1.36: the data holder calls the recipient's arrangement revocation endpoint. */
async function revokeArrangement(bank: SandboxBank, consent: BankConsent): Promise<PushResult[]> {
  return Promise.all(
    bank.clients().map(async ([, client]) => {
      const url = `${client.eventsUrl}/arrangements/revoke`
      const jti = randomUUID()
      const signJwt = async (claims: Record<string, unknown>): Promise<string> =>
        new SignJWT({ jti, ...claims })
          .setProtectedHeader({ alg: 'ES256', kid: bank.keyId })
          .setIssuer(bank.origin)
          .setSubject(bank.origin)
          .setAudience(url)
          .setIssuedAt(nowSeconds(bank))
          .setExpirationTime(nowSeconds(bank) + 120)
          .sign(await bank.signingKey())
      const headers = {
        'content-type': 'application/x-www-form-urlencoded',
        authorization: `Bearer ${await signJwt({})}`,
      }
      const body = new URLSearchParams({ cdr_arrangement_jwt: await signJwt({ cdr_arrangement_id: consent.id }) })
      return { jti, status: await deliver(url, headers, body.toString()) }
    }),
  )
}

const MAX_ATTEMPTS = 3

/** Delivers an event, with retries until it is acknowledged. Returns the last status, or 0 if there was no response. */
async function deliver(url: string, headers: Record<string, string>, body: string): Promise<number> {
  let status = 0
  for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
    const response = await fetch(url, {
      method: 'POST',
      headers: { accept: 'application/json', ...headers },
      body,
      signal: AbortSignal.timeout(5_000),
    }).catch(() => undefined)
    await response?.body?.cancel()
    status = response?.status ?? 0
    if (status >= 200 && status < 500) return status
  }
  return status
}
