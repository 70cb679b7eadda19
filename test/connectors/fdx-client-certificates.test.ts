import { generateKeyPairSync } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { resolveOauthProfile, registrationFaults, STANDARDS, type StandardId } from '../../src/connectors/index.ts'
import { createTrustedProxyCheck } from '../../src/kernel/client-address.ts'
import { createClientCertificateReader } from '../../src/kernel/client-certificate.ts'
import { createClientIdentity, type ClientIdentity } from '../support/client-identity.ts'
import { eventTools } from '../support/event-tools.ts'
import { ADDRESS, codeOf, EXAMPLES } from '../support/standards.ts'

const URL = 'https://gateway.example/bank-events/cnct_1/notifications'
const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const KEYS = { keys: { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'e' }] } }
const [current, next, expired, early, other] = [
  createClientIdentity('bank'),
  createClientIdentity('bank'),
  createClientIdentity('bank', [-30, -1]),
  createClientIdentity('bank', [1, 30]),
  createClientIdentity('bank'),
]
const PINNED = [current, next, expired, early].map(({ thumbprint }) => thumbprint)

const parse = (events: Record<string, unknown>, standard: StandardId = 'FDX') =>
  STANDARDS[standard].registration(ADDRESS).safeParse({
    ...EXAMPLES[standard].registration,
    events: { issuer: 'https://bank.example', ...events },
  })
const readCertificate = createClientCertificateReader('client-cert', createTrustedProxyCheck(['127.0.0.1']))
const notification = {
  notificationId: 'n-1',
  type: 'CONSENT_REVOKED',
  sentOn: '2026-07-15T14:46:41.375Z',
  category: 'CONSENT',
  notificationPayload: { id: 'consent-7', idType: 'CONSENT' },
}

/** Delivers a notification over a connection with this certificate. */
function deliver(
  identity: ClientIdentity | undefined,
  events: Record<string, unknown> = { clientCertificates: PINNED },
  { headers = {}, contentType = 'application/json' }: { headers?: Record<string, string>; contentType?: string } = {},
) {
  const stated = { 'client-cert': identity?.byteSequence }
  const clientCertificate = readCertificate({ headers: stated, socket: { remoteAddress: '127.0.0.1' } as never })
  const body = JSON.stringify(notification)
  const received = { contentType, headers, body, url: URL, audience: 'https://gateway.example/bank-events/cnct_1' }
  const registration = parse(events).data!
  return STANDARDS.FDX.readEvent({ ...received, clientCertificate }, registration, eventTools())
}

describe('a notification of an FDX bank over mutual TLS', () => {
  test('a notification without a signature is accepted with each certificate that is pinned', async () => {
    for (const identity of [current, next])
      for (const events of [{}, KEYS])
        expect(await deliver(identity, { ...events, clientCertificates: PINNED })).toEqual({
          issuer: 'https://bank.example',
          jti: 'n-1',
          payloads: [{ kind: 'CONSENT_REVOKED', consentRef: 'consent-7' }],
        })
  })

  test.each<[string, ClientIdentity | undefined]>([
    ['another certificate with the same name', other],
    ['a pinned certificate that has expired', expired],
    ['a pinned certificate that is not valid yet', early],
    ['no certificate', undefined],
  ])('a notification without a signature and with %s is refused', async (_what, identity) => {
    expect(await codeOf(deliver(identity))).toBe('EVENT_REJECTED')
  })

  test('a certificate authorizes nothing at a bank that pins another one or none', async () => {
    expect(await codeOf(deliver(current, { clientCertificates: [other.thumbprint] }))).toBe('EVENT_REJECTED')
    expect(await codeOf(deliver(other, { clientCertificates: [other.thumbprint] }))).toBe('NONE')
    expect(await codeOf(deliver(current, KEYS))).toBe('EVENT_REJECTED')
  })

  test.each<[string, Record<string, string>]>([
    ['a signature', { signature: 'bank=:AAAA:' }],
    ['the parameters of a signature', { 'signature-input': 'bank=("@method");created=1;keyid="e"' }],
    [
      'both',
      { signature: 'bank=:AAAA:', 'signature-input': 'bank=("@method" "@target-uri" "content-digest");keyid="e"' },
    ],
  ])('a pinned certificate does not replace a valid signature if there is %s', async (_what, headers) => {
    for (const events of [{}, KEYS])
      expect(await codeOf(deliver(current, { ...events, clientCertificates: PINNED }, { headers }))).toBe(
        'EVENT_REJECTED',
      )
  })

  test('a pinned certificate does not replace the signature of a token', async () => {
    for (const contentType of ['application/secevent+jwt', 'application/jwt'])
      expect(await codeOf(deliver(current, { ...KEYS, clientCertificates: PINNED }, { contentType }))).toBe(
        'EVENT_REJECTED',
      )
  })
})

describe('the pinned certificates of a registration', () => {
  test('up to eight SHA-256 thumbprints in base64url are accepted, only by FDX', () => {
    const eight = Array.from({ length: 8 }, () => current.thumbprint)
    const hex = Buffer.from(current.thumbprint, 'base64url').toString('hex')
    expect(parse({ clientCertificates: eight }).success).toBe(true)
    for (const invalid of [[], [...eight, next.thumbprint], [hex], [`${current.thumbprint}=`], ['B'.repeat(43)], 'all'])
      expect(parse({ clientCertificates: invalid }).success, JSON.stringify(invalid)).toBe(false)
    for (const standard of ['OBIE', 'BERLIN_GROUP', 'CDR'] as const)
      expect(parse({ ...KEYS, clientCertificates: eight }, standard).success, standard).toBe(false)
  })

  test('they replace the keys, but not for queued events, for a stream or for IT_WAS_ME', () => {
    const faultsOf = (events: Record<string, unknown>, more: Record<string, unknown> = {}): string[] => {
      const registration = { ...parse({ clientCertificates: PINNED, ...events }).data!, ...more }
      return registrationFaults(
        registration,
        resolveOauthProfile(STANDARDS.FDX.oauthDefaults, registration.oauth),
        STANDARDS.FDX.resourceServers(registration),
      ).map(({ path, message }) => `${path.join('.')} ${message}`)
    }
    const keysMissing = 'events.keys must be present, or else `keysUrl`, but not both'
    const alertResponses = { url: 'https://api.bank.example/answers', accepts: ['IT_WAS_ME'] as const }
    expect(faultsOf({})).toEqual([])
    expect(faultsOf(KEYS, { alertResponses })).toEqual([])
    expect(faultsOf({ pollUrl: 'https://api.bank.example/poll' })).toEqual([keysMissing])
    expect(faultsOf({ stream: { configurationUrl: 'https://auth.bank.example/stream' } })).toEqual([keysMissing])
    expect(faultsOf({ ...KEYS, keysUrl: 'https://keys.bank.example/keys' })).toEqual([keysMissing])
    expect(faultsOf({}, { alertResponses })).toEqual([
      'alertResponses.accepts must not have IT_WAS_ME without `events.keys`',
    ])
  })
})
