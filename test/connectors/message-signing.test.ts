import { constants, generateKeyPairSync, verify } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { messageSigningRules, signMessage } from '../../src/connectors/message-signing.ts'
import { systemClock } from '../../src/kernel/clock.ts'
import { ok } from '../support/scripted-bank.ts'
import { common, connect } from '../support/standards.ts'

const EVENTS = 'https://api.bank.example/events'
const parsePart = (part: string | undefined): unknown =>
  JSON.parse(Buffer.from(part ?? '', 'base64url').toString('utf8'))

/** The event subscription that a connector with these registration members sends. */
async function subscribe(members: Record<string, unknown>) {
  const { bank, sent } = connect(
    'OBIE',
    ({ url, method }) =>
      ok(
        url.includes('/.well-known/')
          ? { issuer: common.authorizationServer, token_endpoint: `${common.authorizationServer}/token` }
          : url.endsWith('/token')
            ? { access_token: 't', token_type: 'Bearer' }
            : url.endsWith('/event-subscriptions')
              ? { Data: method === 'GET' ? {} : { EventSubscriptionId: 's1' } }
              : { moreAvailable: false, sets: {} },
      ),
    { eventsApi: EVENTS, ...members },
  )
  await bank.pollEvents!({ acknowledged: [], rejected: [] })
  return sent.find(({ url, method }) => url === `${EVENTS}/event-subscriptions` && method === 'POST')!
}

describe('message signing of UK Open Banking', () => {
  test('an event subscription is signed with a detached JWS for the bank that requires it', async () => {
    const { headers, body } = await subscribe({ messageSigning: { issuer: 'organisation-1/software-1' } })
    const [header, payload, signature] = headers!['x-jws-signature']!.split('.')
    expect(payload).toBe('')
    expect(signature).toMatch(/^[\w-]{86}$/)
    expect(parsePart(header)).toEqual({
      alg: 'ES256',
      kid: 'k',
      typ: 'JOSE',
      cty: 'application/json',
      'http://openbanking.org.uk/iat': expect.any(Number) as number,
      'http://openbanking.org.uk/iss': 'organisation-1/software-1',
      'http://openbanking.org.uk/tan': 'openbanking.org.uk',
      crit: ['http://openbanking.org.uk/iat', 'http://openbanking.org.uk/iss', 'http://openbanking.org.uk/tan'],
    })
    expect(body).toBeDefined()
  })

  test('a signature covers the header and the body, by the algorithm of the profile', async () => {
    const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
    const signingKey = { ...privateKey.export({ format: 'jwk' }), kty: 'RSA', kid: 'k', alg: 'PS256' }
    const rules = messageSigningRules.parse({ issuer: 'C=GB, O=Guichet', trustAnchor: 'directory.example' })
    const tools = { clock: systemClock, credentials: { signingKey } }
    const [header, , signature] = (await signMessage('{"a":1}', rules, 'PS256', tools)).split('.')
    const isValid = (body: string): boolean =>
      verify(
        'sha256',
        Buffer.from(`${header}.${Buffer.from(body).toString('base64url')}`),
        { key: publicKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 },
        Buffer.from(signature!, 'base64url'),
      )
    expect([isValid('{"a":1}'), isValid('{"a":2}')]).toEqual([true, false])
  })

  test('an event subscription is unsigned if the registration names no signer', async () => {
    expect((await subscribe({})).headers).not.toHaveProperty('x-jws-signature')
  })
})
